package stream

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
)

// Captures is a Source that reads capture files, merged by the times at which records were read from their rings. The
// records of a file keep their order. If reading fails, the records before the error are still passed on and flushed; then
// Wait returns the error. A truncated file is no error: see [Captures.Unfinished]. Of a damaged file the intact parts are read;
// Wait then returns an error at the end, which matches [capture.ErrFormat].
type Captures struct {
	// Ring is called before the first record of a ring, and says which number its records have as Record.Ring.
	// If it is nil, all have 0.
	Ring func(capture.Info) (int, error)
	// Keep reports whether a record is passed on; nil keeps all. number is that of its ring.
	Keep func(number int, rec *capture.Record) bool

	files      captureHeap // those with a record that was not passed on yet; the earliest is the first
	stale      bool        // the record of the first file was passed on
	current    *CaptureFile
	unfinished []*CaptureFile
	damaged    []*CaptureFile
	ended      bool // by End
	totals     Totals
	err        error
	closed     atomic.Bool
}

// CaptureFile is a file of Captures.
type CaptureFile struct {
	*capture.Reader
	Name    string
	Records uint64 // number of records read

	order   int // among the files
	rec     capture.Record
	damage  error  // the first one
	before  uint64 // records before it
	counted bool   // the loss before rec is in the totals
	part    int    // the part of the file to which numbers belong
	numbers []int  // by the rings of the part; -1 if unknown
}

// passBytes is the approximate number of bytes of records in a pass, headers included.
const passBytes = 64 << 10

// NewCaptures returns a Source of the records in files.
func NewCaptures(files ...*CaptureFile) *Captures {
	c := &Captures{}
	for i, f := range files {
		f.order = i
		c.totals.Pos = f.Info().Start // of a single file
		if f.next(c) {
			heap.Push(&c.files, f)
		}
	}
	return c
}

// next reads the next record of the file. It returns false at the end of the file, and after an error.
func (f *CaptureFile) next(c *Captures) bool {
	err := f.read(c)
	if err == nil {
		f.Records++
		f.counted = false
		return true
	}
	before, cut := f.Before()
	c.totals.Lost += before.Lost
	c.totals.Discarded += before.Discarded
	if end := f.End(); end != nil {
		c.totals.Lost += end.Lost
		c.totals.Discarded += end.Discarded
		c.totals.Pos = end.Pos
	}
	switch {
	case errors.Is(err, capture.ErrFormat): // of its end
	case errors.Is(err, capture.ErrUnfinished) || err == io.EOF && cut > 0:
		c.unfinished = append(c.unfinished, f)
	case err != io.EOF && f.Name != "":
		c.err = fmt.Errorf("%s: %w", f.Name, err)
	case err != io.EOF:
		c.err = err
	}
	return false
}

// read reads the next record, beyond damage to the file.
func (f *CaptureFile) read(c *Captures) (err error) {
	for {
		if f.rec, err = f.Next(); err == nil {
			return nil
		}
		at := f.Offset()
		resumed := f.Resume()
		if f.damage == nil && (resumed || errors.Is(err, capture.ErrFormat)) {
			f.damage = fmt.Errorf("damaged after %d records, at byte %d: %w", f.Records, at, err)
			f.before = f.Records
			c.damaged = append(c.damaged, f)
		}
		if !resumed {
			return err
		}
	}
}

// damage returns the error for the files that are damaged, or nil.
func (c *Captures) damage() error {
	var all []error
	for _, f := range c.damaged {
		err := f.damage
		if n := f.Skipped(); n > 0 {
			err = fmt.Errorf("%w; %d bytes were left out, and %d records read after them", err, n, f.Records-f.before)
		}
		if f.Name != "" {
			err = fmt.Errorf("%s: %w", f.Name, err)
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// first returns the file with the earliest record, or nil if no file has a record.
func (c *Captures) first() *CaptureFile {
	if c.ended {
		return nil
	}
	if c.stale {
		c.stale = false
		if c.files[0].next(c) {
			heap.Fix(&c.files, 0)
		} else {
			heap.Pop(&c.files)
		}
	}
	if len(c.files) == 0 || c.err != nil {
		return nil
	}
	return c.files[0]
}

// Pass implements [Source].
func (c *Captures) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		for n, size := 0, 0; (limit == 0 || n < limit) && size < passBytes && !c.closed.Load(); {
			f := c.first()
			if f == nil {
				return
			}
			number, err := c.number(f)
			if err != nil {
				c.err = err
				return
			}
			c.current = f
			span := ring.Span(uint32(len(f.rec.Data)))
			c.totals.Pos = f.rec.Pos + span
			if !f.counted {
				c.totals.Lost, f.counted = c.totals.Lost+f.rec.Lost, true
			}
			if c.Keep == nil || c.Keep(number, &f.rec) {
				if !yield(consumer.Record{Ring: number, Pos: f.rec.Pos, Data: f.rec.Data}) {
					return
				}
				n++
			}
			c.stale = true
			size += int(span)
		}
	}
}

// number returns the number of the ring of f's record.
func (c *Captures) number(f *CaptureFile) (int, error) {
	if c.Ring == nil {
		return 0, nil
	}
	if part := f.Part(); part != f.part {
		f.part, f.numbers = part, nil
	}
	for len(f.numbers) <= f.rec.Ring {
		f.numbers = append(f.numbers, -1)
	}
	number := &f.numbers[f.rec.Ring]
	if *number >= 0 {
		return *number, nil
	}
	var err error
	*number, err = c.Ring(f.Info())
	return *number, err
}

// Next returns the time of the next record, or the zero time if there is none.
func (c *Captures) Next() time.Time {
	if f := c.first(); f != nil {
		return f.rec.Time
	}
	return time.Time{}
}

// Current returns the file of the current record of a pass, or nil before the first one.
func (c *Captures) Current() *CaptureFile { return c.current }

// Time returns the time at which the current record of a pass was recorded.
func (c *Captures) Time() time.Time { return c.current.rec.Time }

// Unfinished returns the files that were read to their end, and have a capture without an end: their records are complete.
func (c *Captures) Unfinished() []*CaptureFile { return c.unfinished }

// Wait implements [Source].
func (c *Captures) Wait(ctx context.Context) error {
	switch {
	case c.closed.Load():
		return fmt.Errorf("read capture: %w", os.ErrClosed)
	case c.first() != nil:
		return ctx.Err()
	case c.err != nil:
		return c.err
	case len(c.damaged) > 0:
		return c.damage()
	}
	return io.EOF
}

// End ends the source after the current record of a pass: what follows is not read.
func (c *Captures) End() { c.ended = true }

// Err implements [Source]: Wait returns the errors.
func (c *Captures) Err() error { return nil }

// Close implements [Source].
func (c *Captures) Close() error {
	c.closed.Store(true)
	return nil
}

// Totals implements [Source]. Lost counts the bytes that the recorders lost before the records so far; at the end of a
// file, all that were lost.
func (c *Captures) Totals() Totals { return c.totals }

// captureHeap is a [heap.Interface] of files, ordered by the times of their records.
type captureHeap []*CaptureFile

func (h captureHeap) Len() int { return len(h) }

func (h captureHeap) Less(i, j int) bool {
	if d := h[i].rec.Time.Compare(h[j].rec.Time); d != 0 {
		return d < 0
	}
	return h[i].order < h[j].order
}

func (h captureHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *captureHeap) Push(f any) { *h = append(*h, f.(*CaptureFile)) }

func (h *captureHeap) Pop() any {
	old := *h
	f := old[len(old)-1]
	*h = old[:len(old)-1]
	return f
}
