package stream

import (
	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/mapflag"
)

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
	return observed(s)
}

// observed returns the counts of an Observer.
func observed(s consumer.ObserverStats) Totals {
	return Totals{
		Records: s.Records, Bytes: s.Bytes, Discarded: s.Discarded, Lost: s.Lost, Losses: s.Losses, Pos: s.Pos, End: s.ProducerPos,
	}
}

// consumed returns the counts of a Reader.
func consumed(s consumer.Stats) Totals {
	return Totals{Records: s.Records, Bytes: s.Bytes, Discarded: s.Discarded, Lost: s.Lost, Pos: s.ConsumerPos, End: s.ProducerPos}
}

// Refuses reports whether the kernel refuses records while the ring m is full; it does not count them
// (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve). It refuses none for a ring in overwrite mode, nor for a
// user ring, into which it does not write.
func Refuses(m *ebpf.Map) bool { return m.Type() == ebpf.RingBuf && m.Flags()&mapflag.RBOverwrite == 0 }
