package proctrace

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/testenv"
)

// tabled returns an attached tracer with a process table.
func tabled(t *testing.T) *Tracer {
	t.Helper()
	tr, err := Load(Options{Processes: true})
	if errors.Is(err, ebpf.ErrNotSupported) {
		testenv.SkipWithout(t, "arena", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	return tr
}

// openTable opens the table as another process would.
func openTable(t *testing.T, m *ebpf.Map) *container.Table {
	t.Helper()
	a, err := arena.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	h, err := container.OpenHeap(a)
	if err != nil {
		t.Fatal(err)
	}
	table, err := container.OpenTable(h, processesName)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// lookup returns the entry of a pid, nil if the table has none.
func lookup(t *testing.T, table *container.Table, pid int) *Process {
	t.Helper()
	value := make([]byte, table.ValueSize())
	err := table.Lookup(binary.LittleEndian.AppendUint32(nil, uint32(pid)), value)
	if errors.Is(err, container.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := DecodeProcess(value)
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// Processes are in the table from their fork (or from the start of the tracer) to their exit.
func TestProcessTable(t *testing.T) {
	testenv.NoLeaks(t)
	old := sleeper(t)
	tr := tabled(t)
	dir := filepath.Join(testenv.BPFFS(t), "tracer")
	if err := errors.Join(tr.Pin(dir), tr.Close()); err != nil {
		t.Fatal(err)
	}
	defer Remove(dir)
	other, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if other.Processes() == nil {
		t.Error("the opened tracer has no table")
	}
	table := openTable(t, other.Processes())

	self := uint32(os.Getpid())
	if p := lookup(t, table, old.Process.Pid); p == nil || p.PPID != self || p.Execs != 0 || p.Comm != "sleep" {
		t.Errorf("a process that was there: %+v", p)
	}
	begin := boottime(t)
	for _, replaced := range []bool{false, true} {
		if replaced {
			if err := other.Replace(); err != nil {
				t.Fatal(err)
			}
		}
		checkEntry(t, table, begin)
	}
	// After many short processes have ended, the table has no entries for them.
	n := 400
	if testing.Short() {
		n = 40
	}
	for pid := range spawn(t, exits(t), n) {
		if p := lookup(t, table, int(pid)); p != nil && p.PPID == self && p.Comm == "true" {
			t.Errorf("a process that has ended: %+v", p)
		}
	}
	if n := stats(t, other).Unlisted; n != 0 {
		t.Errorf("%d changes did not get into the table", n)
	}
	seen := make(map[uint32]bool)
	for e, err := range table.All() {
		if err != nil {
			t.Fatal(err)
		}
		seen[binary.LittleEndian.Uint32(e.Key)] = true
	}
	if !seen[self] || !seen[uint32(old.Process.Pid)] || !seen[1] {
		t.Errorf("the table has %d processes, and not all that were there before", len(seen))
	}
}

// checkEntry starts a process after the time begin, and checks its entry after the fork, after two
// execs and after the exit.
func checkEntry(t *testing.T, table *container.Table, begin uint64) {
	t.Helper()
	young := start(t, exec.Command("/bin/sh", "-c", "echo; read x; exec /bin/sh -c 'echo; read x'"))
	young.answer(t)
	p := lookup(t, table, young.Process.Pid)
	if p == nil || p.PPID != uint32(os.Getpid()) || p.Execs != 1 || p.Comm != "sh" || p.StartTime < begin {
		t.Fatalf("a young process: %+v", p)
	}
	young.tell(t)
	young.answer(t)
	if again := lookup(t, table, young.Process.Pid); again == nil || again.Execs != 2 || again.StartTime != p.StartTime {
		t.Errorf("after another exec: %+v, before %+v", again, p)
	}
	young.end(t)
	if p := lookup(t, table, young.Process.Pid); p != nil {
		t.Errorf("a process that has ended: %+v", p)
	}
}

// Changes that find the process table full are counted in Stats.Unlisted.
func TestAFullProcessTable(t *testing.T) {
	testenv.NoLeaks(t)
	tr := tabled(t)
	h, err := container.OpenHeap(tr.table.arena)
	if err != nil {
		t.Fatal(err)
	}
	for size := uint64(1 << 20); size >= 64; size /= 2 {
		for err == nil {
			_, err = h.Alloc(size)
		}
		if !errors.Is(err, container.ErrFull) {
			t.Fatal(err)
		}
		err = nil
	}
	n := 100
	if testing.Short() {
		n = 20
	}
	spawn(t, exits(t), n) // some of them reuse the memory of processes that have ended
	for unlisted := uint64(0); unlisted == 0; unlisted = stats(t, tr).Unlisted {
		sleeper(t)
	}
}

func TestWithoutArenasThereIsNoTable(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	if tr.Processes() != nil {
		t.Error("there is an arena")
	}
}

func FuzzDecodeProcess(f *testing.F) {
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := DecodeProcess(value)
		if err == nil && len(p.Comm) > 16 {
			t.Errorf("%+v", p)
		}
	})
}
