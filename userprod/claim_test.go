package userprod

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/userring"
)

// refused fails the test unless err says that process pid has claimed the ring.
func refused(tb testing.TB, err error, pid int) {
	tb.Helper()
	busy, ok := errors.AsType[*BusyError](err)
	if !ok || int(busy.PID) != pid || !errors.Is(err, ErrBusy) {
		tb.Errorf("process %d has claimed the ring; got error %v", pid, err)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	for _, end := range []func(*testenv.Process){(*testenv.Process).Kill, (*testenv.Process).End} {
		a := testenv.Start(t, "produce", m)
		a.Expect(t, "ready")
		for _, opts := range []Options{{}, {Mend: true}} {
			_, err := New(m, opts)
			refused(t, err, a.Process.Pid)
		}
		end(a)
		p, err := New(m, Options{})
		if err != nil {
			t.Fatalf("when the holder is gone: %v", err)
		}
		p.Close()
	}
}

func TestASecondProducerOfThisProcessIsRefused(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	for range 2 {
		p, err := New(m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(m, Options{})
		refused(t, err, os.Getpid())
		p.Close()
	}
}

// New uses only the descriptor of the map: no file, no program, no privilege.
func TestNewTouchesTheMapOnly(t *testing.T) {
	testenv.NoLeaks(t)
	t.Setenv(bareVar, t.TempDir())
	for name, flags := range map[string]uintptr{"on the host": 0, "in a container": unix.CLONE_NEWPID} {
		m := userRing(t, testenv.PageSize)
		c := checker(t, m, 1, 8)
		a := testenv.StartWith(t, syscall.SysProcAttr{Cloneflags: flags}, "bare", m)
		a.Expect(t, "ready")
		a.End()
		if n := drain(t, c); n != 1 {
			t.Errorf("%s: %d samples came", name, n)
		}
	}
}

// New calls Claimed after it has claimed the ring and before it discards busy samples.
func TestClaimedDecides(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	onRing(t, m, func(mem *ring.Mapping) { place(mem, map[uint64]ring.Header{0: busy | 8}, 16) })
	refusal := errors.New("refused")
	_, err := New(m, Options{Claimed: func() error {
		d, err := userring.Diagnose(m)
		if err != nil || int(d.Holder.PID()) != os.Getpid() || d.Busy != 1 {
			t.Errorf("the ring is %+v, %v", d, err)
		}
		return refusal
	}})
	if !errors.Is(err, refusal) {
		t.Errorf("New: %v", err)
	}
	d, err := userring.Diagnose(m)
	if err != nil || d.Holder != 0 || d.Busy != 1 {
		t.Errorf("after the refusal: %+v, %v", d, err)
	}
	producer(t, m, Options{Claimed: func() error { return nil }})
}

// execve(2) changes neither pid nor start time. So a claim that names this process, but no Producer
// in it, was taken by its earlier program and is free.
func TestAClaimFromBeforeExecIsNotHeld(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	a := testenv.Start(t, "exec", m)
	a.Expect(t, "ready")
	a.Expect(t, "ready")
	_, err := New(m, Options{})
	refused(t, err, a.Process.Pid)
}

// If several processes open a ring at once, exactly one of them gets it.
func TestOneOfManyGetsTheRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	for range long(10, 2) {
		var all []*testenv.Process
		for range 4 {
			all = append(all, testenv.Start(t, "produce", m))
		}
		got := 0
		for _, a := range all {
			if a.Line(t) == "ready" {
				got++
			}
		}
		if got != 1 {
			t.Errorf("%d of %d processes produce", got, len(all))
		}
		for _, a := range all {
			a.Kill()
		}
	}
}

// A robbed producer may write one sample into free room before it checks its claim, but publishes
// none.
func TestARobbedProducerPublishesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	c := checker(t, m, 1, 8)
	robbed := producer(t, m, Options{})
	held, err := robbed.TryReserve(16)
	if err != nil {
		t.Fatal(err)
	}
	// Clear the claim, as an opener does that considers the holder gone.
	robbed.pos.ProducerClaim().Store(0)
	thief := producer(t, m, Options{})
	if got := thief.found.Abandoned; got != 1 {
		t.Errorf("%d abandoned samples, want the robbed producer's", got)
	}
	if err := held.Commit(); err == nil {
		t.Error("the robbed producer's sample is committed")
	}
	for name, call := range map[string]func() error{
		"TryWrite": func() error { return robbed.TryWrite(make([]byte, 16)) },
		"Reserve":  func() error { _, err := robbed.TryReserve(16); return err },
	} {
		busy, ok := errors.AsType[*BusyError](call())
		if !ok || !busy.Stolen || int(busy.PID) != os.Getpid() {
			t.Errorf("%s of the robbed producer: %v", name, busy)
		}
	}
	s, err := thief.TryReserve(16)
	if err != nil {
		t.Fatal(err)
	}
	if err := robbed.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Discard(); err != nil {
		t.Errorf("the thief's sample after the robbed producer's Close: %v", err)
	}
	_, err = New(m, Options{})
	refused(t, err, os.Getpid())
	drain(t, c)
}

// If Close cannot replace the memory of the ring by private memory, the Producer keeps the claim.
func TestAProducerThatCanStillWriteKeepsItsClaim(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	a := testenv.Start(t, "close", m)
	a.Expect(t, "failed")
	_, err := New(m, Options{})
	refused(t, err, a.Process.Pid)
	a.Tell(t, "again")
	a.Expect(t, "closed")
	p := producer(t, m, Options{})
	if n := p.found.Abandoned; n != 0 {
		t.Errorf("%d samples were left BUSY by Close", n)
	}
}

func TestStealTakesNoRingOfAProcessThatLives(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	producer(t, m, Options{})
	_, err := New(m, Options{Steal: true})
	refused(t, err, os.Getpid())
}
