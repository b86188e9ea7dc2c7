package ring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/filter"
	"github.com/rbtool/rbtool/internal/stream"
)

// readOptions are the arguments and flags of tail and record that say what to read and when to stop.
type readOptions struct {
	rings    choice
	order    orderOptions
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
	o.order.flags(cmd)
	o.unorderedFlags(cmd)
}

// unorderedFlags has the flags of a command that keeps the order of the rings.
func (o *readOptions) unorderedFlags(cmd *cobra.Command) {
	o.rings.flags(cmd)
	f := cmd.Flags()
	f.Var(o.startFlag(), "from", "start with pending records, or skip them")
	f.BoolVar(&o.steal, "steal", false, "consume even if another process consumes the ring")
	f.BoolVar(&o.recover, "recover", false, "repair a wrong consumer position: resume at the oldest intact record")
	f.BoolVar(&o.observe, "observe", false, "watch without consuming, beside the consumer of the ring")
	o.recordFlags(cmd)
}

// startFlag returns the flag --from, with its default.
func (o *readOptions) startFlag() *command.Choice {
	o.from = &command.Choice{Value: "start", Among: []string{"start", "now"}}
	return o.from
}

// recordFlags adds the flags that do not depend on whose the rings are.
func (o *readOptions) recordFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.VarP(&o.count, "count", "n", "exit after this many records")
	f.Var(&o.duration, "for", "exit after this duration")
	f.Var(&o.idle, "idle", "exit after this duration without a record")
	f.BoolVar(&o.stats, "stats", false, "print a line to stderr at the end: records, bytes, discarded, lost, records/s")
	f.StringVar(&o.filter, "filter", "", "select records for which `EXPR` is true, such as 'pid == 1 && comm startsWith \"sys\"'")
	o.types.Flags(f)
	o.types.ExplainFlag(f)
	o.types.Complete(cmd)
}

// check sets the references of the rings. It returns a usage error for flags that contradict each other.
func (o *readOptions) check(cmd *cobra.Command, refs []string) error {
	if o.rings.searches() {
		if o.steal || o.recover {
			return command.Usagef("%s: --all, --pid and --comm only observe: they do not go with --steal or --recover", cmd.Name())
		}
		o.observe = true
	}
	if o.observe && o.steal {
		return command.Usagef("%s: --observe consumes nothing: it does not go with --steal", cmd.Name())
	}
	if o.observe && o.recover {
		return command.Usagef("%s: --recover changes the ring and --observe does not: use one of them", cmd.Name())
	}
	o.rings.refs, o.rings.kinds = refs, []ebpf.MapType{ebpf.RingBuf}
	if o.observe {
		o.rings.kinds = append(o.rings.kinds, ebpf.UserRingbuf)
	}
	if err := o.rings.check(cmd.Name()); err != nil {
		return err
	}
	if err := o.order.check(cmd); err != nil {
		return err
	}
	return o.types.Check(cmd.Name())
}

// reading is a stream that a command reads from one ring or several. The goroutine that calls run owns it; that of follow
// prepares rings that come later.
type reading struct {
	stream.Stream
	opts    *readOptions
	verb    string // the command, for errors
	typed   bool   // the types of records are wanted
	several bool   // records are shown with their rings
	grows   bool   // rings may come later
	rings   *stream.Rings
	order   ordering
	members map[int]*member       // by consumer.Record.Ring
	until   map[ebpf.MapID]uint64 // how far the observed rings that have gone were read: they may come again
	waiting []*member             // found and not yet opened
	left    leftOut
	inOuter map[ebpf.MapID]*typing // of the rings in a map of maps, by its id
	filters []*filter.Filter       // of all rings, also those that have gone
	refuses bool                   // the kernel refuses records while one of the rings is full
	began   time.Time
	stderr  io.Writer

	// added is called for each ring before its first record, and gone after its last one. They may be nil.
	added   func(i int, m *member) error
	gone    func(i int, m *member) error
	sinkErr error // of gone

	stop   <-chan struct{} // closed when nothing writes records any more; nil for the rings of others
	ending bool            // it was: rings end with their last record
}

// batchRecords is how many records of a ring a command writes before it tells the kernel that they are consumed.
// After a SIGKILL, at most that many records of each ring are read a second time.
const batchRecords = 256

// find opens the maps of the rings. If typed is set, it also finds the types of the records. The caller calls close.
func (o *readOptions) find(verb string, stderr io.Writer, typed bool) (r *reading, err error) {
	r = &reading{opts: o, verb: verb, typed: typed || o.order.needsTypes(), stderr: stderr, members: map[int]*member{}, until: map[ebpf.MapID]uint64{},
		inOuter: map[ebpf.MapID]*typing{}}
	r.left.r = r
	r.Limits = stream.Limits{Records: uint64(o.count), For: time.Duration(o.duration), Idle: time.Duration(o.idle)}
	r.Batch = batchRecords
	found, outer, err := o.rings.find(true)
	if err != nil {
		return nil, err
	}
	r.grows = outer || o.rings.alive()
	r.several = r.grows || len(o.rings.refs) > 1
	for _, err := range o.rings.others {
		r.left.others = append(r.left.others, err.Error()+": it is left out")
	}
	for _, f := range found {
		r.waiting = append(r.waiting, &member{chosen: f})
	}
	if r.waiting, err = r.unconsumed(r.waiting, r.left.add); err == nil {
		r.waiting = r.identify(r.waiting, r.left.add)
		err = r.left.error(len(r.waiting))
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// open opens the rings. flush is the Flush of the sink.
func (r *reading) open(flush func() error) (err error) {
	if r.opts.observe {
		r.rings = stream.ObserveRings()
	} else {
		r.rings, err = stream.ConsumeRings(consumer.Options{BeforePublish: flush, Steal: r.opts.steal, Mend: r.opts.recover})
	}
	if err != nil {
		return r.fail(err)
	}
	r.rings.Gone, r.rings.Grows = r.leave, r.grows
	r.Source = r.order.start(r.rings, &r.opts.order)
	if r.order.ordered != nil {
		r.rings.Holds = r.order.ordered.Holds
	}
	for len(r.waiting) > 0 {
		m := r.waiting[0]
		r.waiting = r.waiting[1:]
		joined, err := r.join(m, r.opts.from.Value == "now")
		if err != nil && joined {
			return err
		}
		if err != nil {
			r.left.add(m, err)
		}
	}
	r.began = time.Now()
	return cmp.Or(r.left.error(len(r.members)), r.orderError())
}

// run moves records until a limit is reached. It also returns nil if a signal cancels ctx.
func (r *reading) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var followed <-chan struct{}
	if r.opts.rings.given == nil {
		followed = r.follow(ctx)
	} else {
		followed = r.endWith(ctx)
	}
	err := r.Run(ctx)
	if errors.Is(err, ctx.Err()) {
		err = nil
	}
	cancel()
	<-followed
	return errors.Join(err, r.sinkErr)
}

// title is the prefix of errors that concern all rings: "tail MAP".
func (r *reading) title() string {
	if r.several {
		return r.verb
	}
	return r.verb + " " + r.opts.rings.refs[0]
}

// fail adds the command's title to err.
func (r *reading) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", r.title(), explainReader(err))
}

// close closes the rings.
func (r *reading) close() (err error) {
	if r.rings != nil {
		err = r.rings.Close()
	}
	for _, m := range r.waiting {
		err = errors.Join(err, m.Close())
	}
	for _, m := range r.members {
		err = errors.Join(err, m.Close())
	}
	return err
}

// all returns the indices of the rings, in order.
func (r *reading) all() []int { return slices.Sorted(maps.Keys(r.members)) }

// announce prints which rings were left out, how the records are decoded, and what --recover repaired.
func (r *reading) announce() {
	for _, note := range r.left.notes() {
		command.Note(r.stderr, "%s", note)
	}
	var rings []*member
	for _, i := range r.all() {
		rings = append(rings, r.members[i])
	}
	r.reportTypes(rings)
	for _, i := range r.all() {
		r.reportMended(i)
	}
	if len(rings) == 0 {
		command.Note(r.stderr, "there is no ring yet")
	}
}

func (r *reading) reportMended(i int) {
	found, ok := r.rings.Stats(i)
	if !ok || found.Mended == nil {
		return
	}
	of := ""
	if r.several {
		of = " " + r.members[i].name
	}
	command.Note(r.stderr, "the ring%s was repaired: %v", of, found.Mended)
	command.Note(r.stderr, "reading resumes at position %d; %d bytes before it are overwritten", found.Resumed, found.Overwritten)
}

// report prints the line of --stats, and notes about records that are missing from the output.
func (r *reading) report() {
	total, stats := r.rings.Totals(), r.Stats()
	if r.opts.stats {
		if r.several {
			for _, i := range r.all() {
				r.printTotals(r.members[i], r.rings.TotalsOf(i))
			}
		}
		fmt.Fprintf(r.stderr, "%d records, %d bytes, %d discarded, %d bytes lost, %.1f records/s\n",
			stats.Taken, stats.Bytes, total.Discarded, total.Lost, float64(stats.Taken)/time.Since(r.began).Seconds())
		if r.refuses {
			command.Note(r.stderr, "records refused by the kernel because the ring was full are not counted as lost: "+
				"rbtool drops counts them where the kernel allows that, and rbtool inspect --for shows how long the ring is full")
		}
	}
	if total.Losses > 0 {
		command.Note(r.stderr, "%d bytes of records were overwritten before they could be read, in %d places", total.Lost, total.Losses)
	}
	r.reportOrder()
	for _, f := range r.filters {
		reportFilter(r.stderr, f)
	}
}

// printTotals prints what was read of one of several rings, whatever the filter selected.
func (r *reading) printTotals(m *member, t stream.Totals) {
	fmt.Fprintf(r.stderr, "%s: %d records, %d bytes, %d discarded, %d bytes lost\n", escape.String(m.name), t.Records, t.Bytes, t.Discarded, t.Lost)
}

// newFilter compiles the expression of --filter. It returns nil if expression is empty.
func newFilter(name, expression string, types *decode.Set) (*filter.Filter, error) {
	if expression == "" {
		return nil, nil
	}
	f, err := filter.New(expression, types)
	if err != nil {
		hint := "rbtool tail --help lists what a filter can say"
		switch text := err.Error(); {
		case strings.Contains(text, `unexpected "="`):
			hint = "== compares"
		case capitals.MatchString(text):
			hint = "and, or, not and in are lower case"
		case strings.Contains(text, "the type of the records is not known"):
			hint = "--struct or --type gives their type; --explain without --filter says why it is not known"
		}
		return nil, command.WithHint(command.Usagef("%s: --filter: %w", name, err), "%s", hint)
	}
	return f, nil
}

// capitals matches the error for an operator of SQL.
var capitals = regexp.MustCompile(`unexpected "(AND|OR|NOT|IN|LIKE)"`)

// noteFilter prints what f probably does not mean. f may be nil.
func noteFilter(w io.Writer, f *filter.Filter) {
	if f == nil {
		return
	}
	for _, text := range f.Notes() {
		command.Note(w, "%s", text)
	}
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
