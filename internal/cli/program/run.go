// Package program has the commands that load programs of users: run, stop and headers.
package program

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/runner"
)

// Tail prints the records of rings, as the command tail does.
type Tail interface {
	Flags(cmd *cobra.Command)
	Check(cmd *cobra.Command) error
	// Text reports whether records are shown as text for people.
	Text() bool
	Duration() time.Duration
	Open(stdout, stderr io.Writer, verb, object string, names []string, rings []*ebpf.Map) error
	Run(ctx context.Context) error
	End()
	Close() error
}

// Commands returns the commands of this package. newTail returns what prints records.
func Commands(newTail func() Tail) []*cobra.Command {
	return []*cobra.Command{newRun(newTail()), newStop(), newHeaders()}
}

const runHelp = `Load a BPF object, attach each of its programs where its section says, print the records of its
rings, and detach all when it ends: after COMMAND, a limit such as -n or --for, or ^C.

Sections are those of libbpf: kprobe, kretprobe, ksyscall, kprobe.multi, uprobe, uprobe.multi,
tracepoint, raw_tp, tp_btf, fentry, fexit, fmod_ret, lsm, xdp, tc, tcx, netkit, socket, cgroup, sockops,
sk_lookup, perf_event, struct_ops. A program of section iter is run once and its text printed; one of
section syscall is run once, or --every 1s. A program that cannot be attached here is left out with a
note, as long as another one is attached; --strict makes that an error. A section that starts
with ? is only loaded if --prog names its program.

Records are decoded by the types of the object: __type(value, struct event) in the definition of
a ring says its type, otherwise it is found as by rbtool tail, whose flags say how records are
shown.

On stderr are lines of bpf_printk (printk:), of the streams of programs (stderr NAME:, Linux 6.17)
and at the end, unless --quiet, what each program did and what its rings have lost. --maps
prints the entries of hash maps and arrays, and global variables, at the end.

COMMAND is started when all is attached, and its exit status is that of rbtool. Its pid is @pid
in --set: rbtool run trace.bpf.o --set target_pid=@pid -- ls. If tracing ends before it, it gets SIGTERM.

--pin DIR pins links, programs and maps in a new directory on a bpffs: they go on after rbtool has
ended, until rbtool stop DIR. Otherwise nothing is left, even after kill -9.`

// options are the flags of run.
type options struct {
	runner.Options
	targets  runner.Targets
	set      []string
	rings    []string
	entries  []string
	at       []string
	every    command.Duration
	pin      string
	maps     bool
	quiet    bool
	strict   bool
	noLosses bool
	tail     Tail
	command  []string
}

func newRun(tail Tail) *cobra.Command {
	opts := &options{tail: tail}
	cmd := &cobra.Command{
		Use:   "run OBJECT [-- COMMAND...]",
		Short: "Load a BPF object, attach its programs, print the records of its rings, detach",
		Long:  runHelp,
		Example: `  rbtool run prog.bpf.o
  rbtool run prog.bpf.o --set target_pid=@pid -- ls -l
  rbtool run prog.bpf.o --ring events=16MiB --set min_ns=1000000 -o json --for 10s
  rbtool run xdp.bpf.o --dev eth0 --maps
  rbtool run prog.bpf.o --at on_call=kprobe/vfs_read -n 100
  rbtool run prog.bpf.o --pin /sys/fs/bpf/prog --for 1s; rbtool stop /sys/fs/bpf/prog`,
		Args: command.NonEmpty(objectAndCommand),
	}
	opts.flags(cmd)
	tail.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(cmd, args); err != nil {
			return err
		}
		return runObject(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], opts)
	}
	return cmd
}

// objectAndCommand checks that there is one argument before --.
func objectAndCommand(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		args = args[:dash]
	}
	return cobra.ExactArgs(1)(cmd, args)
}

func (o *options) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.set, "set", nil, "give a global variable a value, `NAME=VALUE`, by its type; may be repeated")
	f.StringArrayVar(&o.rings, "ring", nil, "give a ring a size, `NAME=SIZE`, such as events=16MiB; may be repeated")
	f.StringArrayVar(&o.entries, "entries", nil, "give another map a size, `NAME=N`; may be repeated")
	f.StringSliceVar(&o.Programs, "prog", nil, "load only these `PROGRAMS`, also those whose section starts with ?")
	f.StringSliceVar(&o.Without, "without", nil, "leave out these `PROGRAMS`")
	f.StringArrayVar(&o.at, "at", nil, "attach a program elsewhere, `PROGRAM=SECTION`, such as p=kprobe/vfs_read; may be repeated")
	f.StringSliceVar(&o.targets.Devices, "dev", nil, "attach xdp, tc and socket programs to this network `DEVICE`; may be repeated")
	f.StringVar(&o.targets.Cgroup, "cgroup", "", "attach cgroup programs to the cgroup of this `DIR`")
	f.IntVar(&o.targets.PID, "uprobe-pid", 0, "attach uprobes only in the process `PID`")
	f.Uint64Var(&o.targets.Frequency, "frequency", 99, "run perf_event programs this often on each CPU, in Hz")
	f.Var(&o.every, "every", "run syscall programs again after this duration")
	f.StringVar(&o.pin, "pin", "", "leave all running, pinned in this new `DIR` on a bpffs")
	f.BoolVar(&o.maps, "maps", false, "print hash maps, arrays and global variables at the end")
	f.BoolVar(&o.strict, "strict", false, "fail if a program cannot be attached")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print no summary at the end")
	f.BoolVar(&o.noLosses, "no-losses", false, "do not count the records that rings refuse, which costs each record some time")
	_ = cmd.MarkFlagDirname("cgroup")
	_ = cmd.MarkFlagDirname("pin")
}

// check returns a usage error for wrong flags.
func (o *options) check(cmd *cobra.Command, args []string) (err error) {
	o.command = args[1:]
	if o.Set, err = pairs("--set", o.set); err != nil {
		return err
	}
	if o.At, err = pairs("--at", o.at); err != nil {
		return err
	}
	if o.Entries, err = sizes("--entries", o.entries, func(uint64) error { return nil }); err != nil {
		return err
	}
	page := uint64(os.Getpagesize())
	if o.Rings, err = sizes("--ring", o.rings, func(n uint64) error { return command.CheckRing(n, page) }); err != nil {
		return err
	}
	if len(o.command) == 0 && usesPID(o.Set) {
		return command.Usagef("run: --set: @pid is the pid of COMMAND, and there is none")
	}
	if o.targets.PID < 0 {
		return command.Usagef("run: --uprobe-pid %d: not a pid", o.targets.PID)
	}
	return o.tail.Check(cmd)
}

// pairs splits values NAME=VALUE.
func pairs(flag string, values []string) (map[string]string, error) {
	found := map[string]string{}
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, command.Usagef("run: %s %s: not NAME=VALUE", flag, v)
		}
		if _, twice := found[name]; twice {
			return nil, command.Usagef("run: %s: %s is given twice", flag, name)
		}
		found[name] = value
	}
	return found, nil
}

// sizes is pairs for sizes.
func sizes(flag string, values []string, check func(uint64) error) (map[string]uint32, error) {
	given, err := pairs(flag, values)
	if err != nil {
		return nil, err
	}
	found := map[string]uint32{}
	for name, text := range given {
		var size command.Size
		err := size.Set(text)
		if err == nil {
			err = check(uint64(size))
		}
		if err == nil && (size == 0 || size > 1<<32-1) {
			err = errRange
		}
		if err != nil {
			return nil, command.Usagef("run: %s %s=%s: %w", flag, name, text, err)
		}
		found[name] = uint32(size)
	}
	return found, nil
}
