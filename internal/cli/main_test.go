package cli

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/sections"
	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// TestScripts runs testdata/*.txtar. Each script has a directory $BPFFS on a bpffs, a unique name
// $UNIQ, the file pair.btf with the type of the records that the command produce writes, and sections.o, an
// object for rbtool run. Besides the commands of testscript there are
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
// 0.1 s, and 0.4 s more if it looks for the consumer of a ring or loads programs. So the script's
// process runs those that calls names itself, without stdin: all that is not in the background,
// and neither started with exec nor in another way by status.
func TestScripts(t *testing.T) { runScripts(t, "testdata") }

// oneByOne runs scripts sequentially. In a VM where one thread emulates all CPUs, running two scripts at
// once takes 15% longer.
type oneByOne struct{ *testing.T }

func (oneByOne) Parallel() {}

func (oneByOne) Verbose() bool { return testing.Verbose() }

func (t oneByOne) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(oneByOne{t}) })
}

func runScripts(t *testing.T, dir string, setups ...func(*testscript.Env)) {
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
			if err := os.WriteFile(filepath.Join(env.WorkDir, "sections.o"), sections.Object(), 0o600); err != nil {
				return err
			}
			env.Setenv("UNIQ", "t"+strings.TrimPrefix(filepath.Base(dir), "rbtool-test-"))
			env.Setenv("PAGE", fmt.Sprint(testenv.PageSize))
			env.Setenv("PAGE_KIB", command.FormatSize(uint64(testenv.PageSize)))
			env.Setenv("TWO_PAGES_KIB", command.FormatSize(2*uint64(testenv.PageSize)))
			for _, setup := range setups {
				setup(env)
			}
			return nil
		},
		Condition: condition,
		Cmds:      scriptCommands(),
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
	if _, ok := feature.Find(name); !ok {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	must := slices.Contains(strings.Split(os.Getenv(testenv.RequiredFeatures), ","), name)
	return must || missing(name) == nil, nil
}

// missing returns why the kernel lacks a feature, or nil if it has it. It tries each feature once: some
// take seconds.
func missing(name string) error {
	trial, _ := trials.LoadOrStore(name, sync.OnceValue(func() error {
		f, ok := feature.Find(name)
		if !ok {
			panic("unknown feature " + name)
		}
		return f.Have()
	}))
	return trial.(func() error)()
}

// trials has the results of missing, by the name of the feature.
var trials sync.Map

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N [nobody|bpf|perfmon|contained|pod|full|closed] command...")
	}
	want, how, args := args[0], args[1], args[1:]
	if testing.Short() && calls[how] != nil {
		if got := strconv.Itoa(call(ts, args)); got != want {
			ts.Fatalf("exit status %s, want %s", got, want)
		}
		return
	}
	// TestMain runs the program that argv[0] names.
	cmd := &exec.Cmd{Path: "/proc/self/exe", Dir: ts.MkAbs("."), Stdout: ts.Stdout(), Stderr: ts.Stderr()}
	cmd.Env = os.Environ()
	for _, name := range scriptVariables {
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
