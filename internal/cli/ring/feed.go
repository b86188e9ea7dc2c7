package ring

import (
	"context"
	"io"
	"iter"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/stream"
)

// feed is where records come from: a ring that is consumed, or one that is
// observed.
type feed interface {
	Wait(context.Context) error
	Pass(limit int) iter.Seq[consumer.Record]
	Err() error
	Close() error
	totals() totals
}

// totals is what became of a ring's bytes so far.
type totals struct {
	discarded uint64 // records
	lost      uint64 // bytes, with headers
	losses    uint64 // times, where they are counted
	pos       uint64 // where the next record is
	end       uint64 // producer_pos
}

// consuming is a feed of records that are gone when they were handed out.
type consuming struct{ *consumer.Reader }

func (c consuming) totals() totals {
	s, _ := c.Stats()
	return totals{discarded: s.Discarded, lost: s.Lost, pos: s.ConsumerPos, end: s.ProducerPos}
}

// observing is a feed of records that another process consumes.
type observing struct{ *consumer.Observer }

func (o observing) totals() totals {
	s, _ := o.Stats()
	return totals{discarded: s.Discarded, lost: s.Lost, losses: s.Losses, pos: s.Pos, end: s.ProducerPos}
}

// openFeed opens the ring as opts say. What is consumed is written to out first.
func openFeed(m *ebpf.Map, out *stream.Batch, opts tailOptions) (feed, error) {
	if opts.observe {
		o, err := consumer.NewObserver(m, consumer.ObserverOptions{Now: opts.from.Value == "now"})
		if err != nil {
			return nil, err
		}
		return observing{o}, nil
	}
	r, err := openReader(m, out, opts)
	if err != nil {
		return nil, err
	}
	return consuming{r}, nil
}

// sayLost tells what an observer could not read, which nobody may take for everything.
func sayLost(w io.Writer, s feed) {
	if t := s.totals(); t.losses > 0 {
		command.Note(w, "%d bytes of records were written over before they could be read, in %d places", t.lost, t.losses)
	}
}

// sayRefused notes that the counts of a ring leave out refused records: the kernel refuses a
// record when the ring is full, and does not count it (__bpf_ringbuf_reserve in
// kernel/bpf/ringbuf.c). A ring in overwrite mode refuses none, and the kernel does not write
// into a user ring.
func sayRefused(w io.Writer, m *ebpf.Map) {
	if m.Type() != ebpf.RingBuf || m.Flags()&ring.FlagOverwrite != 0 {
		return
	}
	command.Note(w, "records refused by the kernel because the ring was full are not counted as lost: "+
		"only the producing program sees them; rbtool inspect --for shows how long the ring is full")
}
