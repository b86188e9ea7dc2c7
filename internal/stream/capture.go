package stream

import (
	"iter"
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
)

// Capture is a Source that reads a capture file. If reading fails, the records before the error are
// still passed on and flushed; then Wait returns the error. For a truncated file it is
// [capture.ErrUnfinished], and the records before it are complete.
type Capture struct {
	*capture.Reader
	again bool   // the first record of the next pass was returned and counted before
	pos   uint64 // position after the current record
	lost  uint64
}

// NewCapture returns a Source of the records that r reads.
func NewCapture(r *capture.Reader) *Capture { return &Capture{Reader: r, pos: r.Info().Start} }

// Pass implements [Source].
func (c *Capture) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		for rec := range c.Reader.Pass(limit) {
			if !c.again {
				c.lost += c.Last().Lost
			}
			c.pos = rec.Pos + ring.Span(uint32(len(rec.Data)))
			if c.again = !yield(rec); c.again {
				return
			}
		}
	}
}

// Time returns the time at which the current record of a pass was recorded.
func (c *Capture) Time() time.Time { return c.Last().Time }

// Totals implements [Source]. Lost counts the bytes that the recorder lost before the current record; at
// the end of the file, all that it lost.
func (c *Capture) Totals() Totals {
	t := Totals{Lost: c.lost, Pos: c.pos}
	if end := c.End(); end != nil {
		t.Lost += end.Lost
		t.Discarded, t.Pos = end.Discarded, end.Pos
	}
	return t
}
