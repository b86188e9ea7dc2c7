package ring

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/cli/command"
)

const dropsHelp = `Count the records that the kernel refuses because a ring is full, and say which programs lose them. The
kernel has no such counter: it only returns an error to the program that calls bpf_ringbuf_reserve,
bpf_ringbuf_reserve_dynptr or bpf_ringbuf_output.

For each ring, or for all rings of this host: reservations tried and refused, and bytes refused. For a
ring that loses records also the second in which most were lost, and the losses by program and
where it is attached, by CPU and by record size. A number that is not exact has its bound: 123 (±2), or the
lowest and the highest that it can be. Without --advise records are not read, and nothing on the host is changed.

Two engines can count. The command takes the first that works here, and says which it is and why. fexit
runs a program when one of these helpers returns, which kernels up to Linux 6.12 allow. breakpoint has the
CPUs stop at the helpers' first instruction; that takes a kernel with kprobes. While they count, both make each
reservation on the host take longer: 1 to 3 µs with fexit and 9 to 20 µs with breakpoints, measured on
emulated machines. A note says what it is on this one.

Where neither works, the status is 3, the error says what each engine lacks, and the table only says
how full each ring was, which is no count of losses. The samples of user ring buffers that found
no room are counted by the processes that produce them, so they are shown on every kernel.

--advise also copies the records, read-only, and says what would help: the size that would have held
the bursts, or that none does; records that end in bytes nobody writes; records that are
discarded; wakeups; a ring for each CPU.

--watch prints what was lost in each interval, until ^C, which ends with the report.`

// dropsOptions are the flags of drops.
type dropsOptions struct {
	rings    choice
	output   *command.Choice
	engine   command.Choice
	duration command.Duration
	watch    command.Interval
	advise   bool
}

// dropsFor is how long drops counts by default.
const dropsFor = 10 * time.Second

// engines are the words of --engine.
var engines = []drops.Engine{drops.AnyEngine, drops.Fexit, drops.Breakpoint}

func newDrops() *cobra.Command {
	opts := dropsOptions{watch: command.Interval{Least: 100 * time.Millisecond}}
	cmd := &cobra.Command{
		Use:   "drops [MAP]...",
		Short: "Count the records that programs lose because a ring is full: which programs, how many, and what would help",
		Long:  dropsHelp,
		Example: `  rbtool drops
  rbtool drops /sys/fs/bpf/events --for 30s --advise
  rbtool drops --comm agent --watch
  rbtool drops '/sys/fs/bpf/agent/*' -o json`,
		Args: command.NonEmpty(cobra.ArbitraryArgs),
	}
	opts.output = command.OutputFlag(cmd, command.ListFormats()...)
	for _, e := range engines {
		opts.engine.Among = append(opts.engine.Among, e.String())
	}
	opts.engine.Value = opts.engine.Among[0]
	f := cmd.Flags()
	f.BoolVar(&opts.rings.all, "all", false, "count for all rings of this host, as without MAP")
	f.UintSliceVar(&opts.rings.pids, "pid", nil, "count for the rings that the process `PID` has open or mapped; may be repeated")
	f.StringSliceVar(&opts.rings.comms, "comm", nil, "count for the rings of processes called `NAME`, which may be a pattern; may be repeated")
	f.Var(&opts.duration, "for", "count for this duration (default 10s; with --watch until interrupted)")
	f.VarP(&opts.watch, "watch", "w", "print what was lost in each interval of this length")
	f.Lookup("watch").NoOptDefVal = "1s"
	f.BoolVar(&opts.advise, "advise", false, "also say what would help: a larger ring, shorter records, fewer wakeups")
	f.Var(&opts.engine, "engine", "count with this engine, or with the first that works")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(args); err != nil {
			return err
		}
		return countDrops(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), &opts)
	}
	return cmd
}

// check sets the references of the rings.
func (o *dropsOptions) check(refs []string) error {
	o.rings.refs, o.rings.kinds = refs, []ebpf.MapType{ebpf.RingBuf, ebpf.UserRingbuf}
	if len(refs) == 0 && !o.rings.searches() {
		o.rings.all = true
	}
	if o.duration == 0 && o.watch.Value == 0 {
		o.duration = command.Duration(dropsFor)
	}
	return o.rings.check("drops")
}

// countDrops counts for as long as the flags say, or until ctx is done, and prints the report.
func countDrops(ctx context.Context, stdout, stderr io.Writer, opts *dropsOptions) (err error) {
	w, err := newLossWatch(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if w.refused != nil {
		command.PrintError(stderr, w.refused)
		command.Note(stderr, "the table says how full the rings were, which is no count of losses")
	}
	p := lossPrinter{stdout: stdout, stderr: stderr, opts: opts, watch: w}
	p.announce()
	if opts.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(opts.duration))
		defer cancel()
	}
	if opts.watch.Value > 0 {
		err = p.follow(ctx)
	} else {
		err = w.run(ctx, nil)
	}
	if err == nil {
		err = p.report()
	}
	if err == nil && w.refused != nil {
		return command.Printed(w.refused)
	}
	return err
}
