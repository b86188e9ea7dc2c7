package capture

import (
	"context"
	"fmt"
	"iter"
	"os"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
)

var _ consumer.Source = (*Reader)(nil)

// passBytes is the approximate number of bytes of records in a pass, headers included.
const passBytes = 64 << 10

// Wait returns nil until Next or Pass has reached the end of the file or failed. Then it returns that error, such
// as [io.EOF]. It returns the error of ctx if ctx has ended, and an error matching [os.ErrClosed] after Close.
// It does not block; Pass blocks while it reads the file.
func (c *Reader) Wait(ctx context.Context) error {
	if c.closed.Load() {
		return fmt.Errorf("read capture: %w", os.ErrClosed)
	}
	if c.err != nil && !c.unread {
		return c.err
	}
	return ctx.Err()
}

// Pass returns an iterator over the next records: about 64 KiB, and at most limit records unless limit is zero.
// A record is valid until the end of the loop body. If the loop body ends the loop, its record stays unread. After
// an error Pass yields nothing: Wait returns the error.
func (c *Reader) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		for n, bytes := 0, 0; (limit == 0 || n < limit) && bytes < passBytes && !c.closed.Load(); n++ {
			rec, err := c.Next()
			if err != nil {
				return
			}
			if !yield(consumer.Record{Ring: rec.Ring, Pos: rec.Pos, Data: rec.Data}) {
				c.unread = true
				return
			}
			bytes += int(ring.Span(uint32(len(rec.Data))))
		}
	}
}

// Last returns the last record that Next returned or Pass yielded, with the Time and Lost that a
// [consumer.Record] lacks. Its Data is valid until the next call of Next, or the end of the loop body of Pass.
// After an error Last returns the zero Record.
func (c *Reader) Last() Record { return c.last }

// Err returns nil: Wait returns the errors of the file.
func (c *Reader) Err() error { return nil }

// Close makes Wait return an error matching [os.ErrClosed], and ends Pass before its next record. It does not
// close the file, and does not affect Next. It is idempotent.
func (c *Reader) Close() error {
	c.closed.Store(true)
	return nil
}
