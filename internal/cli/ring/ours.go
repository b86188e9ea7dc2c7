package ring

import (
	"context"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// Tail prints the records of rings of this process, which another family of commands has made: see [NewTail]. The goroutine
// that calls Run owns it; End may be called by any.
type Tail struct {
	opts tailOptions
	end  chan struct{}
	*printing
}

// NewTail returns a Tail. Call Flags, Check, Open, Run and Close, in this order.
func NewTail() *Tail { return &Tail{end: make(chan struct{})} }

// Flags adds the flags of tail that say how records are shown, which are shown, and when to stop.
func (t *Tail) Flags(cmd *cobra.Command) {
	t.opts.startFlag()
	t.opts.show.flags(cmd)
	t.opts.order.flags(cmd)
	t.opts.recordFlags(cmd)
}

// Check returns a usage error for flags that contradict each other.
func (t *Tail) Check(cmd *cobra.Command) error {
	if err := t.opts.check(cmd, nil); err != nil {
		return err
	}
	return t.opts.show.check(cmd.Name())
}

// Text reports whether records are shown as text for people.
func (t *Tail) Text() bool { return t.opts.show.output.Value == stream.Text }

// Format returns the value of --output.
func (t *Tail) Format() string { return t.opts.show.output.Value }

// Duration returns how long to read, or 0 without a limit.
func (t *Tail) Duration() time.Duration { return time.Duration(t.opts.duration) }

// Open finds out how the records of the rings are shown, and starts to read. object is the file that the programs are of: it
// describes their records best. The caller still owns the maps.
func (t *Tail) Open(stdout, stderr io.Writer, verb, object string, names []string, rings []*ebpf.Map) (err error) {
	for i, m := range rings {
		info, err := m.Info()
		if err != nil {
			return err
		}
		id, _ := info.ID()
		t.opts.rings.given = append(t.opts.rings.given, chosen{Map: m, id: id, name: names[i], named: true})
	}
	t.opts.rings.refs = names
	t.opts.types.Suggest(object)
	t.printing, err = t.opts.print(verb, stdout, stderr)
	if err != nil {
		return err
	}
	t.stop = t.end
	return nil
}

// Run prints records until a limit is reached, or End was called and all records are printed.
func (t *Tail) Run(ctx context.Context) error {
	ctx, stop := whileRead(ctx, t.Sink.(*stream.Writer).W)
	defer stop()
	return t.run(ctx)
}

// End says that no records are written any more. Call it once.
func (t *Tail) End() { close(t.end) }

// Close ends the reading.
func (t *Tail) Close() error {
	if t.printing == nil {
		return nil
	}
	return t.close()
}

// endEvery is how often a ring is looked at whose next record nobody commits.
const endEvery = 50 * time.Millisecond

// endWith lets rings end with their last record once stop is closed. It closes the channel that it returns when ctx is done.
func (r *reading) endWith(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
			return
		case <-r.stop:
		}
		for ctx.Err() == nil {
			r.rings.Do(func() {
				r.ending, r.rings.Grows = true, false
				for i := range r.members {
					r.rings.Retire(i)
				}
			})
			command.Pause(ctx, endEvery)
		}
	}()
	return done
}

// printEnd prints the counts of one of several rings, for --stats.
func (r *reading) printEnd(m *member, t stream.Totals) {
	if r.opts.stats && r.several {
		r.printTotals(m, t)
	}
}
