package drain

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// next waits for the next record, at most a minute, and returns it.
func (p *pair) next(t *testing.T) consumer.Record {
	t.Helper()
	deadline := time.AfterFunc(time.Minute, func() { p.reader.Close() })
	defer deadline.Stop()
	rec, err := p.reader.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestTheTimerDrains(t *testing.T) {
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	// The second Start changes the interval.
	for _, every := range []time.Duration{time.Millisecond, 100 * time.Microsecond} {
		if err := p.Start(every); err != nil {
			t.Fatal(err)
		}
		if s, err := p.Stats(); err != nil || s.Every != every {
			t.Errorf("%+v, %v", s, err)
		}
		p.feed(payload(1, 8))
		p.next(t)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	before, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	p.feed(payload(2, 8))
	expect(t, p.Drain, RunOptions{}, 1, nil) // no timer runs, so the sample is still in the user ring
	if after, err := p.Stats(); err != nil || after.Runs != before.Runs+1 || after.Every != 0 {
		t.Errorf("after Stop: %+v, %v; before: %+v", after, err, before)
	}
	if err := p.Start(time.Microsecond); err == nil {
		t.Error("an interval of a microsecond was taken")
	}
	if err := p.Start(time.Millisecond); err != nil {
		t.Fatalf("start after stop: %v", err)
	}
	p.next(t)
	p.feed(payload(3, 8))
	p.next(t)
}

func TestATracepointDrains(t *testing.T) {
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	if err := p.Attach("no_such_tracepoint"); err == nil {
		t.Error("attached to no tracepoint")
	}
	if err := p.Attach("sys_enter"); err != nil {
		t.Fatal(err)
	}
	p.feed(payload(1, 8))
	p.next(t) // if it has to wait, it makes a system call, which triggers a run
	if err := p.Attach("sys_enter"); err == nil {
		t.Error("attached twice")
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p.nobodyElseDrains(t, p.Drain)
}

// nobodyElseDrains checks that samples are drained only by calls of Run. A first run may be
// contended, since Stop and Remove do not wait for a run that a tracepoint started.
func (p *pair) nobodyElseDrains(t *testing.T, d *Drain) {
	t.Helper()
	for n := range uint64(2) { // a run that was going on has ended after the first pass
		if n > 0 {
			p.feed(payload(n, 8))
		}
		res, err := d.Run(RunOptions{})
		for errors.Is(err, ErrContended) {
			res, err = d.Run(RunOptions{})
		}
		if res.Samples != n || err != nil {
			t.Fatalf("run: %d samples, %v; want %d", res.Samples, err, n)
		}
	}
}

// A run by the timer takes at most Limit samples, and the next runs take the rest.
func TestTheLimitOfATimersRun(t *testing.T) {
	p := newPair(t, 1<<16, 1<<16, Options{Limit: 10})
	p.feedN(1000, 8, 0)
	if err := p.Start(minEvery); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		p.next(t)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if runs := s.Runs - s.Empty; runs != 100 {
		t.Errorf("%d runs took 1000 samples, want 100", runs)
	}
}

func TestAPinnedDrainNeedsNoProcess(t *testing.T) {
	dir := filepath.Join(testenv.BPFFS(t), "a", "drain")
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	if err := errors.Join(p.Start(time.Millisecond), p.Attach("sched_process_exec"), p.Pin(dir)); err != nil {
		t.Fatal(err)
	}
	if err := p.Pin(dir); err == nil {
		t.Error("pinned twice")
	}
	other := newDrain(t, p.user, Options{})
	if err := other.Pin(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("pin where one is pinned: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.feed(payload(1, 8))
	p.next(t)

	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := d.Stats()
	// A run updates the counts at its end, after its records are in the ring.
	for err == nil && s.Delivered == 0 {
		s, err = d.Stats()
	}
	if err != nil || s.Delivered != 1 || s.Every != time.Millisecond {
		t.Errorf("%+v, %v", s, err)
	}
	if d.MaxSample() != testenv.PageSize-16 {
		t.Errorf("MaxSample %d", d.MaxSample())
	}
	if err := Remove(dir, false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	p.nobodyElseDrains(t, d)
	if err := Remove(dir, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove again: %v", err)
	}
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
}

// When the last descriptor of the timer's map is closed and the map is not pinned, the kernel
// cancels the timer.
func TestWithoutAPinTheTimerEndsWithClose(t *testing.T) {
	testenv.NoLeaks(t)
	user := userRing(t, testenv.PageSize)
	f := newFeeder(t, user)
	d, err := Load(user, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Start(time.Millisecond), d.Close()); err != nil {
		t.Fatal(err)
	}
	f.feedN(1, 8, 0)
	expect(t, newDrain(t, user, Options{}), RunOptions{}, 1, nil)
}

func TestRemoveLeavesWhatHasNoRoomInTheUserRing(t *testing.T) {
	dir := filepath.Join(testenv.BPFFS(t), "drain")
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	fed := p.fillTarget(t)
	if err := errors.Join(p.Start(time.Millisecond), p.Pin(dir), p.Close(), Remove(dir, false)); err != nil {
		t.Fatal(err)
	}
	records := p.take(t)
	p.drainOn(t, "run")
	records = append(records, p.take(t)...)
	if uint64(len(records)) != fed {
		t.Fatalf("%d records of %d samples", len(records), fed)
	}
	if last := binary.LittleEndian.Uint64(records[fed-1]); last != fed-1 {
		t.Errorf("the last record is sample %d of %d", last, fed)
	}
}

func TestRemoveOfAPart(t *testing.T) {
	dir := filepath.Join(testenv.BPFFS(t), "drain")
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	if err := p.Pin(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pinStop, pinStart, pinProgram} {
		if err := pin.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if err := Remove(dir, false); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRemoveLeavesAloneWhatIsNotADrain(t *testing.T) {
	dir := testenv.BPFFS(t)
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	if err := errors.Join(p.Pin(filepath.Join(dir, "d")), pin.Remove(filepath.Join(dir, "d", pinCounts)),
		pin.Map(p.ring, filepath.Join(dir, "d", pinCounts), pin.Options{})); err != nil {
		t.Fatal(err)
	}
	if err := Remove(filepath.Join(dir, "d"), true); !errors.Is(err, errForeign) {
		t.Errorf("remove: %v", err)
	}
	if pins, _ := filepath.Glob(filepath.Join(dir, "d", "*")); len(pins) != 8 {
		t.Errorf("pins: %v", pins)
	}
}

// A failed Pin leaves no pins and no directory behind.
func TestAFailedPin(t *testing.T) {
	dir := testenv.BPFFS(t)
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pin.Map(p.ring, filepath.Join(dir, "d", pinProgram), pin.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Pin(filepath.Join(dir, "d")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("pin: %v", err)
	}
	if pins, _ := filepath.Glob(filepath.Join(dir, "d", "*")); len(pins) != 1 {
		t.Errorf("pins: %v", pins)
	}
	if err := p.Pin(filepath.Join(dir, "with.dot")); !errors.Is(err, pin.ErrName) {
		t.Errorf("pin to a name with a dot: %v", err)
	}
	if err := p.Pin(filepath.Join(dir, "e")); err != nil {
		t.Errorf("pin: %v", err)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	testenv.NoLeaks(t)
	user, ring := userRing(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize)
	if _, err := Load(ring, Options{}); err == nil {
		t.Error("a ring was drained")
	}
	if _, err := Load(user, Options{To: user}); err == nil {
		t.Error("a user ring was delivered to")
	}
	if _, err := Load(user, Options{Flags: 4}); err == nil {
		t.Error("an unknown flag was taken")
	}
}
