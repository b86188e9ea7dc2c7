package proctrace

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

// idle returns a tracer of one copy that is not attached: its programs run only when the test runs
// them.
func idle(t *testing.T, opts Options) *Tracer {
	t.Helper()
	b := buildFor(kernelTypes())
	b.copies = 1
	tr, err := load(opts, b, kernelTypes())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// runOn runs a program n times on a CPU, in a context in which no other run of it can interrupt.
// The arguments are not tasks, so the program reads all fields of the task as 0.
func runOn(p *ebpf.Program, cpu, n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &before)
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return err
	}
	args := make([]uint64, 3)
	for range n {
		if _, err := syscall.TestRunOn(p, uint32(cpu), args); err != nil {
			return err
		}
	}
	return nil
}

// count reads records until stop is closed and the ring is empty, and returns their number.
func count(r *consumer.Reader, stop <-chan struct{}) (records int, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-stop
		cancel()
	}()
	for {
		err := r.Wait(ctx)
		for range r.Pass(0) {
			records++
		}
		if err := errors.Join(err, r.Err()); errors.Is(err, context.Canceled) {
			return records, r.Err()
		} else if err != nil {
			return records, err
		}
	}
}

// Handlers are replaced in a loop while every CPU runs the programs: the number of runs, the counts
// and the number of records agree.
func TestReplacingHandlersLosesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	each := 100_000
	if testing.Short() {
		each = 3_000
	}
	tr := idle(t, Options{RingBytes: 64 << 20})
	r, err := consumer.NewReader(tr.Events(), consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	cpus := min(2, runtime.NumCPU())
	var wg sync.WaitGroup
	var running atomic.Int32
	began := time.Now()
	for cpu := range cpus {
		// One program after another, so that this lasts for many replacements.
		for _, copies := range tr.programs {
			running.Add(1)
			wg.Go(func() {
				defer running.Add(-1)
				if err := runOn(copies[0], cpu, each); err != nil {
					t.Error(err)
				}
			})
		}
	}
	stop, records := make(chan struct{}), make(chan int)
	go func() {
		n, err := count(r, stop)
		if err != nil {
			t.Error(err)
		}
		records <- n
	}()
	replaced := 0
	for running.Load() > 0 || replaced == 0 {
		if !replaceAll(t, tr) {
			break
		}
		replaced++
	}
	wg.Wait()
	took := time.Since(began)
	close(stop)
	read, runs := <-records, cpus*each
	s := stats(t, tr)
	for _, typ := range []Type{Fork, Exec, Exit} {
		if c := *s.of(typ); c != (Counts{Written: uint64(runs)}) {
			t.Errorf("%s: %+v of %d runs", typ, c, runs)
		}
	}
	if read != 3*runs {
		t.Errorf("%d records of %d runs", read, 3*runs)
	}
	t.Logf("%d events, %.0f a second, handlers replaced %d times", 3*runs, float64(3*runs)/took.Seconds(), replaced)
}

// replaceAll calls Replace, and reports whether that succeeded.
func replaceAll(t *testing.T, tr *Tracer) bool {
	before := handlerIDs(t, tr)
	if err := tr.Replace(); err != nil {
		t.Error(err)
		return false
	}
	for slot, id := range handlerIDs(t, tr) {
		if id == before[slot] {
			t.Errorf("slot %d still has program %d", slot, id)
		}
	}
	return true
}

// handlerIDs returns the ids of the installed handlers by slot.
func handlerIDs(t *testing.T, tr *Tracer) map[int]ebpf.ProgramID {
	t.Helper()
	set, err := installed(tr.handlers)
	if err != nil {
		t.Fatal(err)
	}
	defer set.close()
	ids := make(map[int]ebpf.ProgramID)
	for slot, p := range set {
		if p == nil {
			continue
		}
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		ids[slot], _ = info.ID()
	}
	return ids
}

// An event is counted as missed if no copy has a handler for it.
func TestAnEventWithoutAHandlerIsMissed(t *testing.T) {
	testenv.NoLeaks(t)
	tr := idle(t, Options{})
	if err := tr.handlers.Delete(slot(0, Exec)); err != nil {
		t.Fatal(err)
	}
	for _, copies := range tr.programs {
		if err := runOn(copies[0], 0, 7); err != nil {
			t.Fatal(err)
		}
	}
	s := stats(t, tr)
	got, want := [...]Counts{s.Fork, s.Exec, s.Exit}, [...]Counts{{Written: 7}, {Missed: 7}, {Written: 7}}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// Replace installs the missing handler again.
	if err := tr.Replace(); err != nil {
		t.Fatal(err)
	}
	if err := runOn(tr.programs[1][0], 0, 5); err != nil {
		t.Fatal(err)
	}
	if got, want := stats(t, tr).Exec, (Counts{Written: 5, Missed: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// Replace fails without any handler, from which it finds the maps.
	for _, typ := range []Type{Fork, Exec, Exit} {
		if err := tr.handlers.Delete(slot(0, typ)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Replace(); err == nil {
		t.Error("handlers without a ring")
	}
}

// Processes are traced from fork to exit while handlers are replaced in a pinned tracer that no
// process has open. The rules stay.
func TestReplacingHandlersOfAPinnedTracer(t *testing.T) {
	testenv.NoLeaks(t)
	dir := filepath.Join(testenv.BPFFS(t), "tracer")
	pinned(t, dir)
	defer Remove(dir)
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if tr.control != nil {
		command(t, tr, ignore, Subject{Comm: "false"})
	}
	before := stats(t, tr)
	attached := boottime(t)
	n := 400
	if testing.Short() {
		n = 30
	}
	var wg sync.WaitGroup
	var pids map[uint32]int
	var done atomic.Bool
	wg.Go(func() {
		defer done.Store(true)
		pids = spawn(t, exits(t), n)
	})
	for !done.Load() {
		if err := tr.Replace(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if tr.control != nil {
		exec.Command("/bin/false").Run()
		if s := stats(t, tr); s.Exec.Ignored == before.Exec.Ignored {
			t.Error("a rule is forgotten")
		}
	}
	if lost := lost(total(stats(t, tr))); lost != 0 {
		t.Errorf("%d events lost", lost)
	}
	whole := make(map[uint32]int)
	for _, e := range drain(t, tr) {
		if e.Type != Ack && e.StartTime >= attached && pids[e.TGID] > 0 {
			whole[e.TGID]++
		}
	}
	for pid, lives := range pids {
		if whole[pid] != 3*lives {
			t.Errorf("pid %d: %d events of %d lives", pid, whole[pid], lives)
		}
	}
	if _, err := decoderOf(tr.Events()); err != nil {
		t.Error(err)
	}
	tr.Close()
	if err := tr.Replace(); err == nil {
		t.Error("a closed tracer replaces handlers")
	}
}
