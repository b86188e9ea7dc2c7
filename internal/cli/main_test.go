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
	"sync"
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

// The test binary is also rbtool itself, and the other commands that scripts run: produce, consume and
// so on stand for programs of other projects.
func TestMain(m *testing.M) {
	_ = rlimit.RemoveMemlock() // fails for the user nobody, whose commands need no maps
	testscript.Main(m, map[string]func(){
		"rbtool":      func() { os.Exit(Main()) },
		"produce":     produceMain,
		"consume":     consumeMain,
		"hold":        holdMain,
		"lo":          loMain,
		"eth0":        eth0Main,
		"bpftrace":    holdMain, // a process of this name that has a ring
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

// TestScripts runs testdata/*.txtar. Each script has a directory $BPFFS on a bpffs, a unique name
// $UNIQ, and the file pair.btf with the type of the records that the command produce writes. Besides
// the commands of testscript there are
//
//	status N [nobody|bpf|perfmon|contained|pod|full|closed] command...
//
// which runs a command of this binary and expects exit status N. The optional word selects how it runs:
//
//	nobody     as a user without capabilities
//	bpf        as that user with CAP_BPF
//	perfmon    as that user with CAP_BPF and CAP_PERFMON
//	contained  in a new pid namespace
//	pod        in a new pid namespace with its own /proc
//	full       with /dev/full as standard output
//	closed     with a pipe as standard output whose reading end is closed
//
// And
//
//	[!] claimed PIN
//
// which waits until a live process claims the ring, or until none does, and
//
//	times NAME N [PLUS]
//
// which sets $NAME to N times the number of 4 KiB in a page, plus PLUS: numbers of a script are those of
// rings of 4 KiB, and its rings have one page, $PAGE bytes, as text $PAGE_KIB. $TWO_PAGES_KIB is two of them.
//
// Virtual machines without hardware support run the tests with -short. Then scripts and tests omit
// what does not depend on the kernel (arguments, formats, captures, missing files, terminals), and
// repeated uses of one path through the kernel. In such a machine, a process of this binary takes
// 0.1 s, and 0.4 s more if it looks for the consumer of a ring or loads programs.
func TestScripts(t *testing.T) { runScripts(t, "testdata") }

// oneByOne runs scripts sequentially. In a VM where one thread emulates all CPUs, running two scripts at
// once takes 15% longer.
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
			env.Setenv("PAGE", fmt.Sprint(testenv.PageSize))
			env.Setenv("PAGE_KIB", command.FormatSize(uint64(testenv.PageSize)))
			env.Setenv("TWO_PAGES_KIB", command.FormatSize(2*uint64(testenv.PageSize)))
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": cmdStatus, "claimed": cmdClaimed, "typed": cmdTyped, "times": cmdTimes,
		},
	})
}

// lookAgain is the pause between two checks of a condition.
const lookAgain = time.Millisecond

// pairBTF returns BTF with one struct of 16 bytes: the records of the command produce, which writes a
// number into the first 8 bytes.
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

// condition reports whether scripts that need the named feature run: the kernel has the feature, or is
// required to have it. If it lacks a required feature, such a script fails.
func condition(name string) (bool, error) {
	f, ok := feature.Find(name)
	if !ok {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	must := slices.Contains(strings.Split(os.Getenv(testenv.RequiredFeatures), ","), name)
	have, _ := trials.LoadOrStore(name, sync.OnceValue(func() bool { return f.Have() == nil }))
	return must || have.(func() bool)(), nil
}

// trials has the results of trials of features, by name: some take a second.
var trials sync.Map

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N [nobody|bpf|perfmon|contained|pod|full|closed] command...")
	}
	want, how, args := args[0], args[1], args[1:]
	// testscript.Main runs the command that argv[0] names.
	cmd := &exec.Cmd{Path: "/proc/self/exe", Dir: ts.MkAbs("."), Stdout: ts.Stdout(), Stderr: ts.Stderr()}
	cmd.Env = os.Environ()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "SUDO_UID"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
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
	// The kernel sends no event when a claim changes: poll for a bounded time.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); command.Pause(context.Background(), lookAgain) {
		claimed, err := isClaimed(m)
		ts.Check(err)
		if claimed != neg {
			return
		}
	}
	ts.Fatalf("%s is claimed: %t", args[0], neg)
}

// isClaimed reports whether a live process has claimed a ring.
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

// nobody is the uid of a user without files and privileges. Its commands execute /proc/self/exe, because
// nobody might have no access to the path of the binary. A copy of the binary would not work: execve
// fails with ETXTBSY while a process that another script just forked still has the copy open for
// writing.
const nobody = 65534

// produceMain is the command produce PIN OP COUNT SIZE [SEQ]. It writes COUNT records of SIZE bytes into
// a pinned ring, numbered from SEQ. If OP is discard, it discards every third record.
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

// consumeMain is the command consume PIN FIFO. It consumes a ring with cilium/ebpf until it is killed. It
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

// holdMain is the command hold PIN FIFO. It holds a descriptor of a ring, without mapping it, until it is
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

// spoilMain is the command spoil PIN. It sets the producer position of a user ring to an invalid value.
func spoilMain() {
	m, err := pin.Open(os.Args[1], ebpf.UserRingbuf)
	fatal(err)
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), int64(page), page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	fatal(err)
	binary.LittleEndian.PutUint64(mem, binary.LittleEndian.Uint64(mem)+4)
}

// seekMain is the command seek PIN POS. It sets the consumer position of a ring without claiming it.
func seekMain() {
	m, err := pin.Open(os.Args[1], ebpf.RingBuf)
	fatal(err)
	mem, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	fatal(err)
	binary.LittleEndian.PutUint64(mem, uint64(number(os.Args[2])))
}

// pushMain is the command push PIN COUNT [circle]. In an arena it makes a list with the name nodes, of
// COUNT nodes of two words. The second word of each is its number, from 1. With circle, the last node
// points to the first.
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

// absentMain is the command absent PIN OFFSET [NAME]. At OFFSET in the structure NAME, by default in the
// arena, it writes a reference to a page that is not allocated.
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
