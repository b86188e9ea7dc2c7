package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/filter"
	"github.com/rbtool/rbtool/internal/stream"
)

// readOptions are the flags of tail and record that say what to read from a ring and when to stop.
type readOptions struct {
	from     *command.Choice
	count    command.Count
	duration command.Duration
	idle     command.Duration
	steal    bool
	observe  bool
	recover  bool
	stats    bool
	filter   string
	types    command.TypeOptions
}

func (o *readOptions) flags(cmd *cobra.Command) {
	o.from = &command.Choice{Value: "start", Among: []string{"start", "now"}}
	f := cmd.Flags()
	f.Var(o.from, "from", "start with pending records, or skip them")
	f.VarP(&o.count, "count", "n", "exit after this many records")
	f.Var(&o.duration, "for", "exit after this duration")
	f.Var(&o.idle, "idle", "exit after this duration without a record")
	f.BoolVar(&o.steal, "steal", false, "consume even if another process consumes the ring")
	f.BoolVar(&o.recover, "recover", false, "repair a wrong consumer position: resume at the oldest intact record")
	f.BoolVar(&o.observe, "observe", false, "watch without consuming, beside the consumer of the ring")
	f.BoolVar(&o.stats, "stats", false, "print a line to stderr at the end: records, bytes, discarded, lost, records/s")
	f.StringVar(&o.filter, "filter", "", "select records for which this expression is true, such as 'pid == 1 && comm startsWith \"sys\"'")
	o.types.Flags(f)
}

// check returns a usage error for flags that contradict each other.
func (o *readOptions) check(cmd *cobra.Command) error {
	if o.observe && o.steal {
		return command.Usagef("%s: --observe consumes nothing: it does not go with --steal", cmd.Name())
	}
	if o.observe && o.recover {
		return command.Usagef("%s: --recover changes the ring and --observe does not: use one of them", cmd.Name())
	}
	return o.types.Check(cmd.Name())
}

// reading is a stream that a command reads from a ring.
type reading struct {
	stream.Stream
	opts  *readOptions
	title string // prefix of its errors: "tail MAP"
	ring  *ebpf.Map
	types stream.Types
	began time.Time
}

// batchRecords is how many records a command writes before it tells the kernel that they are consumed.
// After a SIGKILL, at most that many records are read a second time.
const batchRecords = 256

// find opens the map ref. If typed is set, it also finds the types of the records. The caller calls
// close.
func (o *readOptions) find(verb, ref string, typed bool) (r *reading, err error) {
	kinds := []ebpf.MapType{ebpf.RingBuf}
	if o.observe {
		kinds = append(kinds, ebpf.UserRingbuf)
	}
	m, err := inspect.Lookup(ref, kinds...)
	if err != nil {
		return nil, err
	}
	r = &reading{opts: o, title: verb + " " + ref, ring: m}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if typed {
		if r.types, err = o.types.Find(m); err != nil {
			return nil, r.fail(err)
		}
	}
	if r.Filter, err = newFilter(verb, o.filter, r.types.Set); err != nil {
		return nil, err
	}
	r.Limits = stream.Limits{Records: uint64(o.count), For: time.Duration(o.duration), Idle: time.Duration(o.idle)}
	r.Batch = batchRecords
	return r, nil
}

// open opens the ring as a source. flush is the Flush of the sink.
func (r *reading) open(flush func() error) (err error) {
	now := r.opts.from.Value == "now"
	if r.opts.observe {
		r.Source, err = stream.Observe(r.ring, consumer.ObserverOptions{Now: now})
	} else {
		r.Source, err = r.consume(flush, now)
	}
	if err != nil {
		r.Source = nil
		return r.fail(err)
	}
	r.began = time.Now()
	return nil
}

// consume opens the ring for consuming. It refuses a ring that another process consumes, unless --steal
// is given.
func (r *reading) consume(flush func() error, now bool) (stream.Source, error) {
	if !r.opts.steal {
		if err := refuseConsumed(r.ring); err != nil {
			return nil, err
		}
	}
	return stream.Consume(r.ring, consumer.Options{BeforePublish: flush, Steal: r.opts.steal, Mend: r.opts.recover}, now)
}

// run moves records until a limit is reached. It also returns nil if a signal cancels ctx.
func (r *reading) run(ctx context.Context) error {
	if err := r.Run(ctx); err != nil && !errors.Is(err, ctx.Err()) {
		return err
	}
	return nil
}

// fail adds the command's title to err.
func (r *reading) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", r.title, explainReader(err))
}

// close closes the ring.
func (r *reading) close() (err error) {
	if r.Source != nil {
		err = r.Source.Close()
	}
	return errors.Join(err, r.ring.Close())
}

// announce prints how the records are decoded and what --recover repaired.
func (r *reading) announce(w io.Writer) {
	r.opts.types.Report(w, r.types)
	if c, ok := r.Source.(*stream.ConsumedRing); ok {
		if found, err := c.Reader.Stats(); err == nil && found.Mended != nil {
			command.Note(w, "the ring was repaired: %v", found.Mended)
			command.Note(w, "reading resumes at position %d; %d bytes before it are overwritten", found.Resumed, found.Overwritten)
		}
	}
}

// report prints the line of --stats, and notes about records that are missing from the output.
func (r *reading) report(w io.Writer) {
	total, stats := r.Source.Totals(), r.Stats()
	if r.opts.stats {
		fmt.Fprintf(w, "%d records, %d bytes, %d discarded, %d bytes lost, %.1f records/s\n",
			stats.Taken, stats.Bytes, total.Discarded, total.Lost, float64(stats.Taken)/time.Since(r.began).Seconds())
		if stream.Refuses(r.ring) {
			command.Note(w, "records refused by the kernel because the ring was full are not counted as lost: "+
				"only the producing program sees them; rbtool inspect --for shows how long the ring is full")
		}
	}
	if total.Losses > 0 {
		command.Note(w, "%d bytes of records were overwritten before they could be read, in %d places", total.Lost, total.Losses)
	}
	reportFilter(w, r.Filter)
}

// newFilter compiles the expression of --filter. It returns nil if expression is empty.
func newFilter(name, expression string, types *decode.Set) (*filter.Filter, error) {
	if expression == "" {
		return nil, nil
	}
	f, err := filter.New(expression, types)
	if err != nil {
		return nil, command.Usagef("%s: --filter: %w", name, err)
	}
	return f, nil
}

// reportFilter prints how many records f could not evaluate. f may be nil.
func reportFilter(w io.Writer, f *filter.Filter) {
	if f == nil {
		return
	}
	if n, err := f.Errors(); n > 0 {
		command.Note(w, "the filter left out %d records that it could not evaluate: %v", n, err)
	}
}
