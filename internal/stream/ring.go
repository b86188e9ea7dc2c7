package stream

import (
	"iter"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
)

// ConsumedRing is a Source that consumes a ring: once a sink has acknowledged a record, the kernel may
// overwrite it.
type ConsumedRing struct {
	*consumer.Reader
	start uint64 // records before this position are skipped; 0 skips none

	// source is the Reader as an interface: the compiler would inline a direct call of Reader.Pass, but
	// not the calls in its loop, which costs 3 ns per record.
	source consumer.Source
}

// Consume opens m, a map of type RingBuf, for consuming. If now is set, it skips the records that are
// already in the ring. Set opts.BeforePublish to the Flush of the stream's sink.
func Consume(m *ebpf.Map, opts consumer.Options, now bool) (*ConsumedRing, error) {
	r, err := consumer.NewReader(m, opts)
	if err != nil {
		return nil, err
	}
	c := &ConsumedRing{Reader: r, source: r}
	if now {
		c.start = c.Totals().End
	}
	return c, nil
}

// Pass implements [Source].
func (c *ConsumedRing) Pass(limit int) iter.Seq[consumer.Record] {
	if c.start != 0 && !c.skip() {
		return func(func(consumer.Record) bool) {}
	}
	return c.source.Pass(limit)
}

// skip consumes the records before c.start. It returns false if the ring has no record at or after c.start
// yet. Call it again then: more records to skip may come.
func (c *ConsumedRing) skip() bool {
	for rec := range c.Reader.Pass(0) {
		if ring.Pos(c.start).NotAfter(ring.Pos(rec.Pos)) {
			c.start = 0
			return true
		}
	}
	return false
}

// Totals implements [Source].
func (c *ConsumedRing) Totals() Totals {
	s, _ := c.Stats()
	return Totals{Discarded: s.Discarded, Lost: s.Lost, Pos: s.ConsumerPos, End: s.ProducerPos}
}

// ObservedRing is a Source that watches a ring without consuming it.
type ObservedRing struct{ *consumer.Observer }

// Observe opens m, a map of type RingBuf or UserRingbuf, for watching.
func Observe(m *ebpf.Map, opts consumer.ObserverOptions) (ObservedRing, error) {
	o, err := consumer.NewObserver(m, opts)
	return ObservedRing{o}, err
}

// Totals implements [Source].
func (o ObservedRing) Totals() Totals {
	s, _ := o.Stats()
	return Totals{Discarded: s.Discarded, Lost: s.Lost, Losses: s.Losses, Pos: s.Pos, End: s.ProducerPos}
}

// Refuses reports whether the kernel refuses records while the ring m is full; it does not count them
// (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve). It refuses none for a ring in overwrite mode, nor for a
// user ring, into which it does not write.
func Refuses(m *ebpf.Map) bool { return m.Type() == ebpf.RingBuf && m.Flags()&mapflag.RBOverwrite == 0 }
