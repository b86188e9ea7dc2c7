package proctrace

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/testenv"
)

// helperEnv is the environment variable with the role of a re-executed test binary.
const helperEnv = "RBTOOL_PROCTRACE_HELPER"

var helpers = map[string]func(){
	"threads":          runThreads,
	"exec-from-thread": runExecFromThread,
	"exec-when-told":   runExecWhenTold,
	"leader-exits":     runLeaderExits,
	"execveat":         runExecveat,
	"abort":            runAbort,
	"pin":              runPin,
}

// In a helper, lock the main goroutine to the leading thread of the process.
func init() {
	if os.Getenv(helperEnv) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		helpers[name]()
		return
	}
	os.Exit(testenv.Main(m, "user_ringbuf"))
}

// helper returns a command that runs one of the helpers.
func helper(tb testing.TB, name string, args ...string) *exec.Cmd {
	tb.Helper()
	if helpers[name] == nil {
		tb.Fatalf("no helper %q", name)
	}
	path, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// trace loads and attaches a tracer, and closes it when the test ends.
func trace(tb testing.TB, opts Options) *Tracer {
	tb.Helper()
	return traceWith(tb, opts, needed())
}

// kernelTypes returns the kernel's BTF, parsed once for all tests.
var kernelTypes = sync.OnceValue(kernelbtf.Cache)

// needed returns the number of copies of the programs that this kernel needs.
func needed() uint32 {
	return buildFor(kernelTypes()).copies
}

// traceWith is trace with a number of copies of the programs.
func traceWith(tb testing.TB, opts Options, copies uint32) *Tracer {
	tb.Helper()
	b := buildFor(kernelTypes())
	b.copies = copies
	return traceBuild(tb, opts, b)
}

// traceBuild is trace with the given build.
func traceBuild(tb testing.TB, opts Options, b build) *Tracer {
	tb.Helper()
	tr, err := load(opts, b, kernelTypes())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { tr.Close() })
	if err := tr.Attach(); err != nil {
		tb.Fatal(err)
	}
	return tr
}

// eachCopies runs a test with the number of copies that this kernel needs and, without -short, also
// with the maximum.
func eachCopies(t *testing.T, test func(t *testing.T, copies uint32)) {
	all := slices.Compact([]uint32{needed(), maxCopies})
	if testing.Short() {
		all = all[:1]
	}
	for _, copies := range all {
		t.Run(fmt.Sprintf("%d copies", copies), func(t *testing.T) {
			testenv.NoLeaks(t)
			test(t, copies)
		})
	}
}

// drain consumes and decodes the records in the ring.
func drain(tb testing.TB, tr *Tracer) []Event {
	tb.Helper()
	var events []Event
	consume(tb, tr.Events(), func(record []byte) {
		e, err := Decode(record)
		if err != nil {
			tb.Fatal(err)
		}
		events = append(events, e)
	})
	return events
}

// consume calls use for each record in the ring. It waits for BUSY records: one of another process
// may precede those of the test.
func consume(tb testing.TB, ring *ebpf.Map, use func(record []byte)) {
	tb.Helper()
	r, err := consumer.NewReader(ring, consumer.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	s, err := r.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	for goal := s.ProducerPos; s.ConsumerPos < goal; {
		if err := r.Wait(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		for rec := range r.Pass(0) {
			use(rec.Data)
		}
		if err := r.Err(); err != nil {
			tb.Fatal(err)
		}
		if s, err = r.Stats(); err != nil {
			tb.Fatal(err)
		}
	}
}

// total returns the sum of the counts of all types.
func total(s Stats) (sum Counts) {
	for _, c := range []Counts{s.Fork, s.Exec, s.Exit} {
		sum.Written += c.Written
		sum.Failed += c.Failed
		sum.Missed += c.Missed
		sum.Ignored += c.Ignored
		sum.StacksLost += c.StacksLost
	}
	return sum
}

// lost is the number of events that are not in the ring.
func lost(c Counts) uint64 { return c.Failed + c.Missed }

// isThread reports whether an event is about a thread other than the first of its process.
func isThread(e Event) bool { return e.PID != e.TGID }

// of returns the events whose TGID is pid. If an earlier process had the same pid, its events are
// among them.
func of(events []Event, pid int) []Event {
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.TGID != uint32(pid) })
}

// boottime returns the current time of CLOCK_BOOTTIME, the clock of Event.StartTime.
func boottime(tb testing.TB) uint64 {
	tb.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		tb.Fatal(err)
	}
	return uint64(now.Nano())
}
