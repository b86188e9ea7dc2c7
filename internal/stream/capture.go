package stream

import (
	"context"
	"iter"
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
)

// captureBatch bounds the records of a pass over a capture, in bytes, headers included.
const captureBatch = 64 << 10

// Capture is a Source that reads a capture file. Its errors come from Wait, after the records before them
// have been flushed: [capture.ErrUnfinished] for a file that was cut off, whose records are whole.
type Capture struct {
	reader *capture.Reader
	rec    capture.Record
	again  bool   // the next pass begins with rec
	pos    uint64 // after rec
	lost   uint64
	err    error // of the reader
}

// NewCapture returns a Source of the records that r reads.
func NewCapture(r *capture.Reader) *Capture { return &Capture{reader: r, pos: r.Info().Start} }

// Wait implements [Source]. It does not wait: a pass does, for the reader's file.
func (c *Capture) Wait(ctx context.Context) error {
	if c.err != nil {
		return c.err
	}
	return ctx.Err()
}

// Pass implements [Source]. It ends after 64 KiB of records.
func (c *Capture) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		for n, bytes := 0, 0; (limit == 0 || n < limit) && bytes < captureBatch; n++ {
			if !c.next() {
				return
			}
			if !yield(consumer.Record{Pos: c.rec.Pos, Data: c.rec.Data}) {
				c.again = true
				return
			}
			bytes += int(ring.Span(uint32(len(c.rec.Data))))
		}
	}
}

// next moves to the next record. It returns false at the end, or at an error.
func (c *Capture) next() bool {
	if c.again {
		c.again = false
		return true
	}
	if c.err == nil {
		c.rec, c.err = c.reader.Next()
	}
	if c.err != nil {
		return false
	}
	c.lost += c.rec.Lost
	c.pos = c.rec.Pos + ring.Span(uint32(len(c.rec.Data)))
	return true
}

// Time returns when the current record of a pass was recorded.
func (c *Capture) Time() time.Time { return c.rec.Time }

// Err implements [Source].
func (c *Capture) Err() error { return nil }

// Totals implements [Source]. They say what the recorder lost up to the current record, and at the end of
// the file all that it lost.
func (c *Capture) Totals() Totals {
	t := Totals{Lost: c.lost, Pos: c.pos}
	if end := c.reader.End(); end != nil {
		t.Lost += end.Lost
		t.Discarded, t.Pos = end.Discarded, end.Pos
	}
	return t
}

// Close implements [Source]. The file belongs to the caller.
func (c *Capture) Close() error { return nil }
