package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// batchRecords is how many records tail writes before it tells the kernel that they
// are consumed: as many may be printed again after a SIGKILL.
const batchRecords = 256

// tailer is one run of tail.
type tailer struct {
	source source
	out    *batch
	format format
	opts   tailOptions
	began  time.Time

	start   uint64 // --from now: records below this position are passed over
	printed uint64 // records
	bytes   uint64 // of payload in them
}

// run prints records until one of the conditions to stop is met, of which the
// end of ctx is one.
func (t *tailer) run(ctx context.Context) error {
	if t.opts.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t.opts.duration))
		defer cancel()
	}
	if t.opts.from.value == "now" && !t.opts.observe {
		t.start = t.source.totals().end
	}
	for t.opts.count == 0 || t.printed < uint64(t.opts.count) {
		if err := t.wait(ctx); err != nil {
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				return nil // as asked
			}
			return err
		}
		if err := t.pass(); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for a record, no longer than --idle.
func (t *tailer) wait(ctx context.Context) error {
	if t.opts.idle > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t.opts.idle))
		defer cancel()
	}
	return t.source.Wait(ctx)
}

// pass prints one batch.
func (t *tailer) pass() error {
	if !t.skip() {
		return t.source.Err()
	}
	limit := uint64(batchRecords)
	if t.opts.count > 0 {
		limit = min(limit, uint64(t.opts.count)-t.printed)
	}
	for rec := range t.source.Pass(int(limit)) {
		t.printed++
		t.bytes += uint64(len(rec.Data))
		t.out.buf = t.format(t.out.buf, t.printed, rec)
	}
	if err := t.source.Err(); err != nil {
		return err
	}
	return t.out.flush()
}

// skip passes over the records before t.start. It returns false when there may be
// more of them.
func (t *tailer) skip() bool {
	if t.start == 0 {
		return true
	}
	for rec := range t.source.Pass(0) {
		if int64(rec.Pos-t.start) >= 0 {
			t.start = 0
			return true
		}
	}
	return false
}

// summary is the line of --stats.
func (t *tailer) summary() string {
	s := t.source.totals()
	rate := float64(t.printed) / time.Since(t.began).Seconds()
	return fmt.Sprintf("%d records, %d bytes, %d discarded, %d bytes lost, %.1f records/s",
		t.printed, t.bytes, s.discarded, s.lost, rate)
}

// batch is output that has not been written yet.
type batch struct {
	w   io.Writer
	buf []byte
}

// flush writes it. What could not be written stays.
func (b *batch) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	n, err := b.w.Write(b.buf)
	b.buf = b.buf[:copy(b.buf, b.buf[n:])]
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// full writes it when it has grown large enough to be worth it.
func (b *batch) full() error {
	if len(b.buf) < 64<<10 {
		return nil
	}
	return b.flush()
}
