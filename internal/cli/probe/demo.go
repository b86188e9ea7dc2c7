package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/pin"
)

// newDemo returns the command demo. It calls run for each command line that it shows.
func newDemo(run func(ctx context.Context, stdout, stderr io.Writer, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show what rbtool does in half a minute, and clean up",
		Long: `Trace the processes of this machine through a pinned ring buffer for some seconds, and send
lines through the kernel and back, with the commands that you would type. At the end, or
when the demo is interrupted, everything that it pinned or mounted is removed.`,
		Example: "  rbtool demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(&script{ctx: cmd.Context(), stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), run: run})
		},
	}
}

// demoName is the prefix of the directories to which demos pin.
const demoName = "rbtool-demo-"

func demo(d *script) (err error) {
	// Ignore further signals until the process exits: a second ^C must not prevent the cleanup.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)

	root, unmount, err := demoRoot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	sweep(root)
	dir := filepath.Join(root, fmt.Sprint(demoName, os.Getpid()))
	defer func() { err = errors.Join(err, removeTracer(dir)) }()

	events := eventsPin(dir)
	d.say("Start a tracer of all processes. It is pinned: it outlives the command that starts it.")
	d.rbtool("probe", "proctrace", "start", "--pin-dir", dir)
	d.work() // do the work before the tail, so that its events are printed first
	d.say("It writes into a BPF ring buffer. These are the rings of this host:")
	d.rbtool("ls")
	d.say("Read the ring through mmap: processes of the demo and of others.")
	d.rbtool("tail", events, "-n", "60", "--for", "10s", "--idle", "2s", "--stats")
	d.say("The same as JSON, while more processes run:")
	stop := d.workOn()
	d.rbtool("tail", events, "-o", "json", "--from", "now", "-n", "8", "--for", "10s")
	stop()
	d.say("The positions of the ring, and the processes that use it:")
	d.rbtool("inspect", events)
	d.say("Replace the programs of the running tracer, as after an upgrade of rbtool.")
	d.rbtool("probe", "proctrace", "replace", "--pin-dir", dir)
	d.say("The counts of the tracer: nothing was lost.")
	d.rbtool("probe", "proctrace", "status", "--pin-dir", dir)
	if features.HaveMapType(ebpf.UserRingbuf) == nil {
		d.roundTrip(dir)
	}
	d.rbtool("probe", "proctrace", "stop", "--pin-dir", dir)
	d.say("All pins are gone. Try it yourself:")
	d.print("    rbtool probe proctrace start && rbtool tail %s/rbtool/proctrace/%s\n", root, filepath.Base(events))
	if d.ctx.Err() != nil {
		return command.WithStatus(errors.New("demo: interrupted"), command.StatusInterrupted)
	}
	return d.err
}

// roundTrip demonstrates user ring buffers, which carry samples from processes to the kernel.
func (s *script) roundTrip(dir string) {
	user, ring, drained := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "drain")
	s.say("Tell the tracer, through a user ring buffer, to trace nothing but ls. A record among its events acknowledges it.")
	s.rbtool("probe", "proctrace", "watch", "--comm", "ls", "--pin-dir", dir)
	s.work()
	s.rbtool("tail", eventsPin(dir), "-n", "5000", "--for", "5s", "--idle", "500ms")
	s.say("A round trip: write lines into a user ring, let a timer in the kernel drain it into a ring, and read that.")
	s.rbtool("create", "user-ringbuf", "--pin", user, "--size", "64KiB")
	s.rbtool("create", "ringbuf", "--pin", ring, "--size", "64KiB")
	s.rbtool("drain", user, "--to", ring, "--every", "1ms", "--pin-dir", drained)
	s.rbtool("produce", "--user", user, "/proc/uptime")
	s.rbtool("produce", "--user", user, "/proc/version")
	s.rbtool("tail", ring, "-o", "hex", "-n", "2", "--for", "5s")
	s.rbtool("drain", "status", "--pin-dir", drained)
	s.rbtool("drain", "stop", "--pin-dir", drained)
	s.rbtool("unpin", user, ring)
}

// demoRoot returns the mount point of a bpffs. If there is none, it mounts one, and unmount unmounts
// that.
func demoRoot() (root string, unmount func() error, err error) {
	root, err = bpffs.Default()
	if !errors.Is(err, bpffs.ErrNotMounted) {
		return root, func() error { return nil }, err
	}
	root = bpffs.DefaultRoot
	if err := bpffs.Mount(root); err != nil {
		return "", nil, err
	}
	return root, func() error {
		if err := unix.Unmount(root, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", root, err)
		}
		return nil
	}, nil
}

// sweep removes the pins of demos that were killed.
func sweep(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, demoName+"*"))
	for _, dir := range dirs {
		pid := strings.TrimPrefix(filepath.Base(dir), demoName)
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			_ = removeTracer(dir)
		}
	}
}

// removeTracer removes the tracer in dir, if there is one.
func removeTracer(dir string) error {
	for _, err := range []error{
		drain.Remove(filepath.Join(dir, "drain"), true), pin.Remove(filepath.Join(dir, "in")), pin.Remove(filepath.Join(dir, "out")),
	} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := proctrace.Remove(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// script prints commands and runs them until a command fails or ctx is done.
type script struct {
	ctx            context.Context
	stdout, stderr io.Writer
	run            func(ctx context.Context, stdout, stderr io.Writer, args []string) error
	err            error
}

func (s *script) over() bool { return s.err != nil || s.ctx.Err() != nil }

func (s *script) print(format string, args ...any) {
	if !s.over() {
		_, s.err = fmt.Fprintf(s.stdout, format, args...)
	}
}

func (s *script) say(text string) { s.print("\n# %s\n", text) }

// rbtool prints a command line of rbtool and runs it.
func (s *script) rbtool(args ...string) {
	s.print("$ rbtool %s\n", strings.Join(args, " "))
	if s.over() {
		return
	}
	s.err = s.run(s.ctx, s.stdout, s.stderr, args)
}

// workload has commands that cause different events. None starts another process: such a process would
// survive when the demo is interrupted.
var workload = [][]string{
	{"sh", "-c", "true"},
	{"sh", "-c", "exit 3"},
	{"sh", "-c", "kill -TERM $$"},
	{"sleep", "0.01"},
	{"ls", "/"},
}

// work runs the workload once.
func (s *script) work() {
	for _, args := range workload {
		if s.over() {
			return
		}
		// Some commands of the workload are meant to fail.
		_ = exec.CommandContext(s.ctx, args[0], args[1:]...).Run()
	}
}

// workOn repeats the workload in another goroutine until stop is called.
func (s *script) workOn() (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	on := &script{ctx: ctx}
	var done sync.WaitGroup
	done.Go(func() {
		for !on.over() {
			on.work()
			command.Pause(ctx, 100*time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}
