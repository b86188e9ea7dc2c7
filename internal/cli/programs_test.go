package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/pin"
)

// The test binary is also rbtool itself, and the other programs that scripts run: produce, consume and
// so on stand for programs of other projects. The program that argv[0] names runs.
func TestMain(m *testing.M) {
	_ = rlimit.RemoveMemlock() // fails for the user nobody, whose commands need no maps
	programs := map[string]func(){
		"rbtool":      func() { os.Exit(Main()) },
		"consume":     consumeMain,
		"hold":        holdMain,
		"nats":        natsMain,
		"lo":          loMain,
		"eth0":        eth0Main,
		"bpftrace":    holdMain, // a process of this name that has a ring
		"soak-inside": soakInsideMain,
		"soak-pod":    soakPodMain,
		"soak-read":   soakReadMain,
		"soak-write":  soakWriteMain,
	}
	for name, call := range calls {
		if programs[name] == nil {
			programs[name] = func() { os.Exit(call(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }
		}
	}
	if main := programs[filepath.Base(os.Args[0])]; main != nil {
		main()
		os.Exit(command.StatusDone)
	}
	os.Exit(runWith(m, slices.Collect(maps.Keys(programs))))
}

// runWith runs the tests with the programs of these names in PATH.
func runWith(m *testing.M, programs []string) int {
	exe, err := os.Executable()
	fatal(err)
	dir, err := os.MkdirTemp("", "programs")
	fatal(err)
	defer os.RemoveAll(dir)
	for _, name := range programs {
		fatal(os.Symlink(exe, filepath.Join(dir, name)))
	}
	fatal(os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH")))
	return m.Run()
}

// calls are the programs that end by themselves, as functions that return the exit status.
var calls = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) int{
	"rbtool":  run,
	"produce": writes(produceRecords),
	"spoil":   writes(spoil),
	"seek":    writes(seek),
	"push":    writes(push),
	"absent":  writes(absent),
}

// scriptCommands returns the commands of scripts that those of testscript do not include.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"status": cmdStatus, "claimed": cmdClaimed, "typed": cmdTyped, "times": cmdTimes,
	}
	for name := range calls {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			var failure error
			if !testing.Short() {
				failure = ts.Exec(name, args...)
			} else if status := call(ts, append([]string{name}, args...)); status != command.StatusDone {
				failure = fmt.Errorf("exit status %d", status)
			}
			switch {
			case neg && failure == nil:
				ts.Fatalf("unexpected success")
			case !neg:
				ts.Check(failure)
			}
		}
	}
	return commands
}

// scriptVariables are the environment variables of a script that rbtool reads.
var scriptVariables = []string{"HOME", "XDG_CONFIG_HOME", "SUDO_UID"}

// call calls a program of calls in this process and returns its exit status. It changes the process's
// directory and environment meanwhile: scripts must run one by one.
func call(ts *testscript.TestScript, argv []string) int {
	dir, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	defer func() { ts.Check(os.Chdir(dir)) }()
	for _, name := range scriptVariables {
		before, had := os.LookupEnv(name)
		ts.Check(os.Setenv(name, ts.Getenv(name)))
		defer func() {
			if had {
				ts.Check(os.Setenv(name, before))
			} else {
				ts.Check(os.Unsetenv(name))
			}
		}()
	}
	var stdout, stderr output
	status := calls[argv[0]](context.Background(), argv[1:], &stdout, &stderr)
	_, err = io.WriteString(ts.Stdout(), stdout.String())
	_, err2 := io.WriteString(ts.Stderr(), stderr.String())
	ts.Check(errors.Join(err, err2))
	return status
}

// writes makes a program of a function that writes into a map and prints nothing.
func writes(f func(args []string) error) func(context.Context, []string, io.Writer, io.Writer) int {
	return func(_ context.Context, args []string, _, stderr io.Writer) int {
		if err := f(args); err != nil {
			fmt.Fprintln(stderr, err)
			return command.StatusFailed
		}
		return command.StatusDone
	}
}

// produceRecords is the program produce PIN OP COUNT SIZE [SEQ]. It writes COUNT records of SIZE bytes into
// a pinned ring, numbered from SEQ. If OP is discard, it discards every third record.
func produceRecords(args []string) error {
	ops := map[string]producer.Job{
		"reserve": {Op: producer.Reserve},
		"output":  {Op: producer.Output},
		"dynptr":  {Op: producer.Dynptr},
		"discard": {Op: producer.Reserve, DiscardEvery: 3},
	}
	job, ok := ops[args[1]]
	if !ok {
		return fmt.Errorf("no op %q; have %v", args[1], slices.Sorted(maps.Keys(ops)))
	}
	numbers, err := numbersOf(args[2:])
	if err != nil {
		return err
	}
	job.Count, job.Size = uint64(numbers[0]), uint32(numbers[1])
	if len(numbers) > 2 {
		job.Seq = uint64(numbers[2])
	}
	m, err := pin.Open(args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	p, err := producer.Load(m)
	if err != nil {
		return err
	}
	defer p.Close()
	res, err := p.Run(context.Background(), job)
	if err == nil && res.Failed > 0 {
		err = fmt.Errorf("%d records found the ring full", res.Failed)
	}
	return err
}

// numbersOf parses decimal numbers.
func numbersOf(args []string) (numbers []int, err error) {
	for _, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// consumeMain is the program consume PIN FIFO. It consumes a ring with cilium/ebpf until it is killed. It
// writes to FIFO once it has mapped the ring.
func consumeMain() {
	m, err := pin.Open(os.Args[1])
	fatal(err)
	r, err := ringbuf.NewReader(m)
	fatal(err)
	fatal(os.WriteFile(os.Args[2], []byte("consuming\n"), 0))
	for {
		_, err := r.Read()
		fatal(err)
	}
}

// holdMain is the program hold PIN FIFO. It holds a descriptor of a ring, without mapping it, until it is
// killed. It writes to FIFO once it has the descriptor.
func holdMain() {
	m, err := pin.Open(os.Args[1])
	fatal(err)
	defer m.Close()
	fatal(os.WriteFile(os.Args[2], []byte("holding\n"), 0))
	for { // an empty select would panic: deadlock
		syscall.Pause()
	}
}

// withPage maps a page of a pinned ring and calls change with it.
func withPage(path string, kind ebpf.MapType, page int, change func(mem []byte)) error {
	m, err := pin.Open(path, kind)
	if err != nil {
		return err
	}
	defer m.Close()
	size := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), int64(page*size), size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	change(mem)
	return unix.Munmap(mem)
}

// spoil is the program spoil PIN. It sets the producer position of a user ring to an invalid value.
func spoil(args []string) error {
	return withPage(args[0], ebpf.UserRingbuf, 1, func(mem []byte) {
		binary.LittleEndian.PutUint64(mem, binary.LittleEndian.Uint64(mem)+4)
	})
}

// seek is the program seek PIN POS. It sets the consumer position of a ring without claiming it.
func seek(args []string) error {
	pos, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	return withPage(args[0], ebpf.RingBuf, 0, func(mem []byte) { binary.LittleEndian.PutUint64(mem, pos) })
}

// withArena opens a pinned arena and calls change with it.
func withArena(path string, change func(*arena.Arena) error) (err error) {
	m, err := pin.Open(path)
	if err != nil {
		return err
	}
	a, err := arena.Open(m)
	if err != nil {
		return errors.Join(err, m.Close())
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return change(a)
}

// push is the program push PIN COUNT [circle]. In an arena it makes a list with the name nodes, of
// COUNT nodes of two words. The second word of each is its number, from 1. With circle, the last node
// points to the first.
func push(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return withArena(args[0], func(a *arena.Arena) error {
		h, err := container.Format(a)
		if err != nil {
			return err
		}
		l, err := container.NewList(h, "nodes")
		if err != nil {
			return err
		}
		var last *[2]uint64
		var first arena.Ptr[[2]uint64]
		for i := range count {
			p, node, err := container.New[[2]uint64](h)
			if err != nil {
				return err
			}
			node[1] = uint64(i + 1)
			if err := l.Push(arena.Ptr[container.Link](p)); err != nil {
				return err
			}
			if first = p; last == nil {
				last = node
			}
		}
		if len(args) > 2 {
			last[0] = uint64(first)
		}
		return nil
	})
}

// absent is the program absent PIN OFFSET [NAME]. At OFFSET in the structure NAME, by default in the
// arena, it writes a reference to a page that is not allocated.
func absent(args []string) error {
	offset, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return err
	}
	return withArena(args[0], func(a *arena.Arena) error {
		at := arena.Ptr[uint32](a.Base())
		if len(args) > 2 {
			h, err := container.OpenHeap(a)
			if err != nil {
				return err
			}
			roots, err := h.Roots()
			if err != nil {
				return err
			}
			i := slices.IndexFunc(roots, func(r container.Root) bool { return r.Name == args[2] })
			at = arena.Ptr[uint32](roots[i].Ptr)
		}
		at += arena.Ptr[uint32](offset)
		return at.Store(a, uint32(a.Base()+a.Size()/2))
	})
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	fatal(err)
	return n
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
