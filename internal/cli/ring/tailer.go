package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/filter"
	"github.com/rbtool/rbtool/internal/stream"
)

// batchRecords is how many records tail writes before it tells the kernel that they
// are consumed: as many may be printed again after a SIGKILL.
const batchRecords = 256

// tailer is one run of tail.
type tailer struct {
	source feed
	out    *stream.Batch
	format stream.Format
	watch  func(record []byte) // called for each record before filter, unless nil
	filter *filter.Filter      // nil for all records
	opts   tailOptions
	began  time.Time

	start   uint64 // --from now: records below this position are passed over
	seen    uint64 // records
	printed uint64 // of them
	bytes   uint64 // of payload in those
}

// run prints records until one of the conditions to stop is met, of which the
// end of ctx is one.
func (t *tailer) run(ctx context.Context) error {
	if t.opts.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t.opts.duration))
		defer cancel()
	}
	if t.opts.from.Value == "now" && !t.opts.observe {
		t.start = t.source.totals().end
	}
	for t.opts.count == 0 || t.printed < uint64(t.opts.count) {
		err := t.wait(ctx)
		over := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
		if err != nil && !over {
			return err
		}
		// The time can be over before anybody has looked: what has come is printed.
		seen := t.seen
		if err := t.pass(); err != nil {
			return err
		}
		if over && (ctx.Err() != nil || t.seen == seen) {
			return nil // as asked
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
	for rec := range t.source.Pass(batchRecords) {
		if t.opts.count > 0 && t.printed == uint64(t.opts.count) {
			break // which leaves this record, and not the one before
		}
		t.seen++
		if t.watch != nil {
			t.watch(rec.Data)
		}
		if t.filter == nil || t.filter.Match(t.seen, rec.Pos, rec.Data) {
			t.printed++
			t.bytes += uint64(len(rec.Data))
			t.out.Buf = t.format(t.out.Buf, t.seen, rec)
		}
	}
	if err := t.source.Err(); err != nil {
		return err
	}
	return t.out.Flush()
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

// newFilter compiles --filter, nil when there is none.
func newFilter(verb, expression string, types *decode.Set) (*filter.Filter, error) {
	if expression == "" {
		return nil, nil
	}
	f, err := filter.New(expression, types)
	if err != nil {
		return nil, command.Usagef("%s: --filter: %w", verb, err)
	}
	return f, nil
}

// sayUnfiltered tells of records that a filter, which may be nil, could not judge.
func sayUnfiltered(w io.Writer, f *filter.Filter) {
	if f == nil {
		return
	}
	if n, err := f.Errors(); n > 0 {
		command.Note(w, "the filter left out %d records that it could not evaluate: %v", n, err)
	}
}
