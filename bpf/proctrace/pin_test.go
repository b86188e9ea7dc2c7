package proctrace

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// list returns the names in a directory, nil if it does not exist.
func list(t *testing.T, dir string) []string {
	t.Helper()
	dirents, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range dirents {
		names = append(names, e.Name())
	}
	return names
}

// usualEntries returns the pins of a tracer without a process table.
func usualEntries() []entry {
	return slices.DeleteFunc(entries(int(needed())), func(e entry) bool { return e.name == pinProcesses })
}

// pinned loads, attaches and pins a tracer in dir, and closes it.
func pinned(t *testing.T, dir string) {
	t.Helper()
	tr := trace(t, Options{})
	if err := tr.Pin(dir); err != nil {
		t.Fatal(err)
	}
	tr.Close()
}

func TestAPinnedTracerGoesOn(t *testing.T) {
	testenv.NoLeaks(t)
	dir := filepath.Join(testenv.BPFFS(t), "made", "too")
	pinned(t, dir)
	defer Remove(dir)
	var want []string
	for _, p := range usualEntries() {
		want = append(want, p.name)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, list(t, dir)); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}

	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if events := of(drain(t, tr), cmd.Process.Pid); len(events) != 3 {
		t.Errorf("%d events, want 3: %+v", len(events), events)
	}
	if s := stats(t, tr); s.Fork.Written == 0 || s.Exec.Written == 0 || s.Exit.Written == 0 || lost(total(s)) != 0 {
		t.Errorf("stats: %+v", s)
	}
	if err := tr.Attach(); err == nil {
		t.Error("an attached tracer can be attached again")
	}
	if err := tr.Pin(dir + "2"); err == nil {
		t.Error("a tracer from Open can be pinned")
	}

	// Remove ends the tracing although a Tracer is still open.
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := list(t, filepath.Dir(dir)); got != nil {
		t.Errorf("left behind: %v", got)
	}
	// The kernel frees the links some time after Remove: wait until the counts no longer change.
	for before := (Stats{}); before != stats(t, tr); {
		before = stats(t, tr)
		if err := exec.Command("/bin/true").Run(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveIsIdempotent(t *testing.T) {
	testenv.NoLeaks(t)
	root := testenv.BPFFS(t)
	dir := filepath.Join(root, "tracer")
	pinned(t, dir)
	for range 2 {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v, want ErrNotExist", err)
	}
	if err := Remove(t.TempDir()); !errors.Is(err, pin.ErrNotBPFFS) {
		t.Errorf("Remove: %v, want ErrNotBPFFS", err)
	}
}

func TestPinRefusesAnOccupiedDirectory(t *testing.T) {
	testenv.NoLeaks(t)
	dir := filepath.Join(testenv.BPFFS(t), "tracer")
	pinned(t, dir)
	defer Remove(dir)
	before := list(t, dir)
	tr := trace(t, Options{})
	if err := tr.Pin(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Pin: %v, want ErrExist", err)
	}
	if diff := cmp.Diff(before, list(t, dir)); diff != "" {
		t.Errorf("pins (-before +after):\n%s", diff)
	}
	// The failed Pin has not changed the Tracer: it can be pinned elsewhere.
	if err := tr.Pin(dir + "2"); err != nil {
		t.Error(err)
	}
	tr.Close()
	if err := Remove(dir + "2"); err != nil {
		t.Error(err)
	}
}

func TestAFailedPinLeavesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	dir := testenv.BPFFS(t)
	other := testenv.Ring(t, uint32(os.Getpagesize()))
	tr := trace(t, Options{})
	for _, p := range entries(int(needed())) {
		foreign := filepath.Join(dir, p.name)
		if err := pin.Map(other, foreign, pin.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := tr.Pin(dir); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Pin with %s there: %v, want ErrExist", p.name, err)
		}
		if diff := cmp.Diff([]string{p.name}, list(t, dir)); diff != "" {
			t.Errorf("pins after a failed Pin (-want +got):\n%s", diff)
		}
		// A foreign object under the name of a pin is neither opened nor removed.
		if _, err := Open(dir); !errors.Is(err, errForeign) {
			t.Errorf("Open with a foreign %s: %v, want errForeign", p.name, err)
		}
		if err := Remove(dir); !errors.Is(err, errForeign) {
			t.Errorf("Remove with a foreign %s: %v, want errForeign", p.name, err)
		}
		if err := pin.Remove(foreign); err != nil {
			t.Error(err)
		}
	}
	missing := filepath.Join(dir, "a", "b.c") // bpffs permits no dots in names, so creating the directory fails
	if err := tr.Pin(missing); !errors.Is(err, pin.ErrName) {
		t.Errorf("Pin: %v, want ErrName", err)
	}
	if got := list(t, dir); got != nil {
		t.Errorf("left behind: %v", got)
	}
}

// TestPartsAreRemoved checks that Remove removes every subset of pins that an interrupted Pin or
// Remove leaves.
func TestPartsAreRemoved(t *testing.T) {
	testenv.NoLeaks(t)
	dir := filepath.Join(testenv.BPFFS(t), "tracer")
	pins := usualEntries()
	stride := 1
	if testing.Short() {
		stride = len(pins) / 3
	}
	for left := 0; left < len(pins); left += stride {
		pinned(t, dir)
		for _, p := range pins[left:] {
			if err := pin.Remove(filepath.Join(dir, p.name)); err != nil {
				t.Fatal(err)
			}
		}
		want := ErrIncomplete
		if left == 0 {
			want = fs.ErrNotExist
		}
		if _, err := Open(dir); !errors.Is(err, want) {
			t.Errorf("Open with %d pins: %v, want %v", left, err, want)
		}
		if err := Remove(dir); err != nil {
			t.Errorf("Remove with %d pins: %v", left, err)
		}
		if got := list(t, filepath.Dir(dir)); got != nil {
			t.Fatalf("%d pins: left behind: %v", left, got)
		}
	}
}

// TestAKilledStartIsRemoved kills a process at each step of Pin, and removes the pins that remain.
func TestAKilledStartIsRemoved(t *testing.T) {
	testenv.NoLeaks(t)
	root := testenv.BPFFS(t)
	dir := filepath.Join(root, "tracer")
	stride := 1
	if testing.Short() {
		stride = len(usualEntries()) / 3
	}
	for step := 0; step <= len(usualEntries()); step += stride {
		cmd := helper(t, "pin", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if step > 0 { // the process reports when it is about to pin: watching it load would slow it down
			if _, err := out.Read(make([]byte, 1)); err != nil {
				t.Fatalf("the helper failed: %v", err)
			}
		}
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()
		for len(list(t, dir)) < step {
			select {
			case <-ended:
				t.Fatal("the helper failed")
			default:
			}
		}
		cmd.Process.Kill()
		<-ended
		if err := Remove(dir); err != nil {
			t.Errorf("killed after pin %d: %v", step, err)
		}
		if got := list(t, root); got != nil {
			t.Fatalf("killed after pin %d: left behind: %v", step, got)
		}
	}
}

// runPin loads a tracer, writes a byte to stdout, pins the tracer, and waits until it is killed.
func runPin() {
	tr, err := Load(Options{RingBytes: uint32(os.Getpagesize())})
	if err == nil {
		err = tr.Attach()
	}
	if err == nil {
		_, err = os.Stdout.WriteString("p")
	}
	if err == nil {
		err = tr.Pin(os.Args[1])
	}
	if err != nil {
		panic(err)
	}
	unix.Pause()
}
