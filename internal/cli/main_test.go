package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// The test binary is also the commands that scripts run: rbtool itself, and
// what stands for other people's programs.
func TestMain(m *testing.M) {
	_ = rlimit.RemoveMemlock() // as nobody it cannot be, and must not
	testscript.Main(m, map[string]func(){
		"rbtool":      func() { os.Exit(Main()) },
		"produce":     produceMain,
		"consume":     consumeMain,
		"hold":        holdMain,
		"spoil":       spoilMain,
		"seek":        seekMain,
		"push":        pushMain,
		"absent":      absentMain,
		"soak-inside": soakInsideMain,
		"soak-pod":    soakPodMain,
		"soak-read":   soakReadMain,
		"soak-write":  soakWriteMain,
	})
}

// TestScripts runs testdata/*.txtar. In a script $BPFFS is a directory on a
// bpffs of its own, $UNIQ a name that no other test uses, and pair.btf the type of
// what produce makes. Beside
// testscript's own commands there is
//
//	status N [nobody|bpf|perfmon|contained|pod|full|closed] command...
//
// for a command of this binary that has to exit with status N: as another user, as another
// user with CAP_BPF, or with CAP_BPF and CAP_PERFMON, in a pid namespace of its own, in one with its own /proc, with
// /dev/full for its standard output, or with a pipe that nobody reads; and
//
//	[!] claimed PIN
//
// which returns when a live process has claimed the ring, or none has any more.
//
// With -short, which is how virtual machines without hardware support run them on each
// kernel, the scripts and the other tests leave out what no kernel changes: arguments,
// the formats of input, output and captures, files that are missing, terminals, and what
// takes another test's path through the kernel once more. Each command and each feature keeps
// that path once. There a script costs 0.1 s for each process of this binary, and another
// 0.4 s where it looks for the ring's consumer or loads programs.
func TestScripts(t *testing.T) { runScripts(t, "testdata") }

// oneByOne runs scripts one after the other. Where one thread emulates all CPUs, two
// at once take 15% more of it than one after the other.
type oneByOne struct{ *testing.T }

func (oneByOne) Parallel() {}

func (oneByOne) Verbose() bool { return testing.Verbose() }

func (t oneByOne) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(oneByOne{t}) })
}

func runScripts(t *testing.T, dir string) {
	run := func(p testscript.Params) { testscript.Run(t, p) }
	if testing.Short() {
		run = func(p testscript.Params) { testscript.RunT(oneByOne{t}, p) }
	}
	run(testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			tb := env.T().(testing.TB)
			dir := testenv.BPFFS(tb)
			env.Setenv("BPFFS", dir)
			if err := os.WriteFile(filepath.Join(env.WorkDir, "pair.btf"), pairBTF(tb), 0o600); err != nil {
				return err
			}
			env.Setenv("UNIQ", "t"+strings.TrimPrefix(filepath.Base(dir), "rbtool-test-"))
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": cmdStatus, "claimed": cmdClaimed,
		},
	})
}

// lookAgain is how long to leave the CPU to what is waited for before looking again.
const lookAgain = time.Millisecond

// pairBTF is BTF with one struct, of 16 bytes: what produce makes has a number in
// its first 8.
func pairBTF(tb testing.TB) []byte {
	tb.Helper()
	u64 := &btf.Int{Name: "u64", Size: 8}
	pair := &btf.Struct{Name: "pair", Size: 16, Members: []btf.Member{{Name: "first", Type: u64}, {Name: "second", Type: u64, Offset: 64}}}
	b, err := btf.NewBuilder([]btf.Type{pair}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// condition reports whether the kernel has the feature with a name, or must have it: then a
// script that needs it runs, and fails.
func condition(name string) (bool, error) {
	f, ok := feature.Find(name)
	if !ok {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	must := slices.Contains(strings.Split(os.Getenv(testenv.RequiredFeatures), ","), name)
	return must || f.Have() == nil, nil
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N [nobody|bpf|perfmon|contained|pod|full|closed] command...")
	}
	want, how, args := args[0], args[1], args[1:]
	// As testscript.Main has it, the binary is the command that it is called.
	cmd := &exec.Cmd{Path: "/proc/self/exe", Dir: ts.MkAbs("."), Stdout: ts.Stdout(), Stderr: ts.Stderr()}
	switch how {
	case "nobody", "bpf", "perfmon":
		args = args[1:]
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: map[string][]uintptr{"bpf": {unix.CAP_BPF}, "perfmon": {unix.CAP_BPF, unix.CAP_PERFMON}}[how],
		}
	case "contained":
		args = args[1:]
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	case "pod":
		path, err := exec.LookPath("unshare")
		ts.Check(err)
		cmd.Path, cmd.Args = path, append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}, args[1:]...)
	case "full":
		args = args[1:]
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		ts.Check(err)
		defer full.Close()
		cmd.Stdout = full
	case "closed":
		args = args[1:]
		r, w, err := os.Pipe()
		ts.Check(err)
		ts.Check(r.Close())
		defer w.Close()
		cmd.Stdout = w
	}
	if cmd.Args == nil {
		cmd.Args = args
	}
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		ts.Fatalf("%v", err)
	}
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != want {
		ts.Fatalf("exit status %s, want %s", got, want)
	}
}

func cmdClaimed(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] claimed PIN")
	}
	m, err := pin.Open(args[0], ebpf.UserRingbuf, ebpf.RingBuf)
	ts.Check(err)
	defer m.Close()
	// Nothing announces it: look again for a bounded time.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); command.Pause(context.Background(), lookAgain) {
		claimed, err := isClaimed(m)
		ts.Check(err)
		if claimed != neg {
			return
		}
	}
	ts.Fatalf("%s is claimed: %t", args[0], neg)
}

// isClaimed reports whether a process that lives has claimed a ring.
func isClaimed(m *ebpf.Map) (bool, error) {
	mem, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return false, err
	}
	word := mem.ConsumerClaim()
	if m.Type() == ebpf.UserRingbuf {
		word = mem.ProducerClaim()
	}
	holder := claim.ID(word.Load())
	return holder.State() != claim.Gone, mem.Unmap()
}

// nobody is a user who owns nothing and may do nothing. The binary is executed
// by its link in /proc, so it need not lie where nobody can reach it; a copy would: and
// one just written is "text file busy" while another script's fork still has it open.
const nobody = 65534

// produceMain: produce PIN OP COUNT SIZE [SEQ] puts COUNT records of SIZE bytes
// into a pinned ring, numbered from SEQ; with OP "discard" every third is discarded.
func produceMain() {
	ops := map[string]producer.Job{
		"reserve": {Op: producer.Reserve},
		"output":  {Op: producer.Output},
		"dynptr":  {Op: producer.Dynptr},
		"discard": {Op: producer.Reserve, DiscardEvery: 3},
	}
	job, ok := ops[os.Args[2]]
	if !ok {
		fatal(fmt.Errorf("no op %q; have %v", os.Args[2], maps.Keys(ops)))
	}
	job.Count, job.Size = uint64(number(os.Args[3])), uint32(number(os.Args[4]))
	if len(os.Args) > 5 {
		job.Seq = uint64(number(os.Args[5]))
	}
	m, err := pin.Open(os.Args[1])
	fatal(err)
	p, err := producer.Load(m)
	fatal(err)
	res, err := p.Run(context.Background(), job)
	fatal(err)
	if res.Failed > 0 {
		fatal(fmt.Errorf("%d records found the ring full", res.Failed))
	}
}

// consumeMain: consume PIN FIFO consumes a ring as another program would, with
// cilium/ebpf, until it is killed. It writes to FIFO when it has the ring mapped.
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

// holdMain: hold PIN FIFO keeps a descriptor of a ring, and nothing else, until
// it is killed. It writes to FIFO when it has it.
func holdMain() {
	m, err := pin.Open(os.Args[1])
	fatal(err)
	defer m.Close()
	fatal(os.WriteFile(os.Args[2], []byte("holding\n"), 0))
	for { // an empty select is a deadlock, of which the runtime dies
		syscall.Pause()
	}
}

// spoilMain: spoil PIN makes the producer position of a user ring one that no
// producer writes.
func spoilMain() {
	m, err := pin.Open(os.Args[1], ebpf.UserRingbuf)
	fatal(err)
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), int64(page), page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	fatal(err)
	binary.LittleEndian.PutUint64(mem, binary.LittleEndian.Uint64(mem)+4)
}

// seekMain: seek PIN POS sets the consumer position of a ring, as a process that has no
// right to it.
func seekMain() {
	m, err := pin.Open(os.Args[1], ebpf.RingBuf)
	fatal(err)
	mem, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	fatal(err)
	binary.LittleEndian.PutUint64(mem, uint64(number(os.Args[2])))
}

// pushMain: push PIN COUNT [circle] makes a list called nodes in an arena, of COUNT nodes
// of two words, the second of which counts from 1; the last leads to the first, if so wished.
func pushMain() {
	m, err := pin.Open(os.Args[1])
	fatal(err)
	a, err := arena.Open(m)
	fatal(err)
	h, err := container.Format(a)
	fatal(err)
	l, err := container.NewList(h, "nodes")
	fatal(err)
	var last *[2]uint64
	var first arena.Ptr[[2]uint64]
	for i := range number(os.Args[2]) {
		p, node, err := container.New[[2]uint64](h)
		fatal(err)
		node[1] = uint64(i + 1)
		fatal(l.Push(arena.Ptr[container.Link](p)))
		if first = p; last == nil {
			last = node
		}
	}
	if len(os.Args) > 3 {
		last[0] = uint64(first)
	}
	fatal(a.Close())
}

// absentMain: absent PIN OFFSET [NAME] writes a reference to the middle of an arena, which is
// not allocated, at an offset in what has the name, or in the arena.
func absentMain() {
	m, err := pin.Open(os.Args[1])
	fatal(err)
	a, err := arena.Open(m)
	fatal(err)
	at := arena.Ptr[uint32](a.Base())
	if len(os.Args) > 3 {
		h, err := container.OpenHeap(a)
		fatal(err)
		roots, err := h.Roots()
		fatal(err)
		i := slices.IndexFunc(roots, func(r container.Root) bool { return r.Name == os.Args[3] })
		at = arena.Ptr[uint32](roots[i].Ptr)
	}
	at += arena.Ptr[uint32](number(os.Args[2]))
	fatal(at.Store(a, uint32(a.Base()+a.Size()/2)))
	fatal(a.Close())
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
