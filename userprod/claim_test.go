package userprod

import (
	"errors"
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// refused fails the test unless err says that process pid produces.
func refused(tb testing.TB, err error, pid int, foreign bool) {
	tb.Helper()
	busy, ok := errors.AsType[*BusyError](err)
	if !ok || int(busy.PID) != pid || busy.Foreign != foreign || !errors.Is(err, ErrBusy) {
		tb.Errorf("process %d produces, foreign %t; got error %v", pid, foreign, err)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	for _, end := range []func(*actor){(*actor).kill, (*actor).end} {
		a := start(t, "produce", m, nil)
		a.expect(t, "ready")
		for _, opts := range []Options{{}, {Mend: true}, {IgnoreForeign: true}} {
			_, err := New(m, opts)
			refused(t, err, a.cmd.Process.Pid, false)
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
	m := userRing(t, 4096)
	for range 2 {
		p, err := New(m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(m, Options{})
		refused(t, err, os.Getpid(), false)
		p.Close()
	}
}

func TestAForeignProducerIsFound(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	a := start(t, "map", m, nil)
	a.expect(t, "ready")
	_, err := New(m, Options{})
	refused(t, err, a.cmd.Process.Pid, true)
	p, err := New(m, Options{IgnoreForeign: true})
	if err != nil {
		t.Fatalf("when it is to be ignored: %v", err)
	}
	p.Close()
	a.kill()
	if p, err = New(m, Options{}); err != nil {
		t.Fatalf("when it is gone: %v", err)
	}
	p.Close()
}

// Those that lose a race for the claim have the ring mapped for a moment, one after the
// other maybe.
func TestAForeignProducerIsThereAtEachLook(t *testing.T) {
	for _, tt := range []struct {
		looks [2][]int
		want  int // 0: nobody
	}{
		{[2][]int{}, 0},
		{[2][]int{{7}, {}}, 0},
		{[2][]int{{7}, {8}}, 0},
		{[2][]int{{7}, {7}}, 7},
		{[2][]int{{6, 7}, {7, 8}}, 7},
	} {
		look := 0
		err := noForeign(func() ([]int, error) { look++; return tt.looks[look-1], nil })
		if tt.want != 0 {
			refused(t, err, tt.want, true)
		} else if err != nil {
			t.Errorf("looks that find %v: %v", tt.looks, err)
		}
	}
}

// execve(2) changes neither pid nor start time: a claim of this process that none of its
// Producers has made is that of the program before.
func TestAClaimFromBeforeExecIsNotHeld(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	a := start(t, "exec", m, nil)
	a.expect(t, "ready")
	a.expect(t, "ready")
	_, err := New(m, Options{})
	refused(t, err, a.cmd.Process.Pid, false)
}

// Of processes that open a ring at once, one gets it.
func TestOneOfManyGetsTheRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	for range long(10, 2) {
		var all []*actor
		for range 4 {
			all = append(all, start(t, "produce", m, nil))
		}
		got := 0
		for _, a := range all {
			if line, _ := a.said.ReadString('\n'); line == "ready\n" {
				got++
			}
		}
		if got != 1 {
			t.Errorf("%d of %d processes produce", got, len(all))
		}
		for _, a := range all {
			a.kill()
		}
	}
}

// It may write one sample into free room before it learns of the theft, and publishes none.
func TestARobbedProducerPublishesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	c := checker(t, m, 1, 8)
	robbed := producer(t, m, Options{})
	held, err := robbed.Reserve(16)
	if err != nil {
		t.Fatal(err)
	}
	// As another process would that takes the holder for gone.
	robbed.pos.ProducerClaim().Store(0)
	thief := producer(t, m, Options{})
	if got := thief.Recovered().Abandoned; got != 1 {
		t.Errorf("%d abandoned samples, want the robbed producer's", got)
	}
	if err := held.Commit(); err == nil {
		t.Error("the robbed producer's sample is committed")
	}
	for name, call := range map[string]func() error{
		"TryWrite": func() error { return robbed.TryWrite(make([]byte, 16)) },
		"Reserve":  func() error { _, err := robbed.Reserve(16); return err },
	} {
		busy, ok := errors.AsType[*BusyError](call())
		if !ok || !busy.Stolen || int(busy.PID) != os.Getpid() {
			t.Errorf("%s of the robbed producer: %v", name, busy)
		}
	}
	s, err := thief.Reserve(16)
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
	refused(t, err, os.Getpid(), false)
	drain(t, c)
}

// While the ring's memory cannot be taken away from a closed Producer, its claim stays.
func TestAProducerThatCanStillWriteKeepsItsClaim(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	a := start(t, "close", m, nil)
	a.expect(t, "failed")
	_, err := New(m, Options{IgnoreForeign: true})
	refused(t, err, a.cmd.Process.Pid, false)
	if _, err := a.stdin.Write([]byte("again\n")); err != nil {
		t.Fatal(err)
	}
	a.expect(t, "closed")
	p := producer(t, m, Options{})
	if n := p.Recovered().Abandoned; n != 0 {
		t.Errorf("%d samples were left BUSY by Close", n)
	}
}

func TestStealTakesNoRingOfAProcessThatLives(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	producer(t, m, Options{})
	_, err := New(m, Options{Steal: true})
	refused(t, err, os.Getpid(), false)
}

// Any process that has the ring can write a claim into it that names any other. It is void if no process
// has the ring mapped for producing.
func TestStealTakesTheRingFromAVoidClaim(t *testing.T) {
	testenv.NoLeaks(t)
	m, others := userRing(t, 4096), userRing(t, 4096)
	holder := start(t, "produce", others, nil)
	holder.expect(t, "ready")
	forge := func() {
		var word uint64
		onRing(t, others, func(mem *ring.Mapping) { word = mem.ProducerClaim().Load() })
		onRing(t, m, func(mem *ring.Mapping) { mem.ProducerClaim().Store(word) })
	}
	forge()
	_, err := New(m, Options{})
	refused(t, err, holder.cmd.Process.Pid, false)
	p, err := New(m, Options{Steal: true})
	if err != nil {
		t.Fatalf("claim of a process that has another ring: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}

	foreign := start(t, "map", m, nil)
	foreign.expect(t, "ready")
	forge()
	_, err = New(m, Options{Steal: true})
	refused(t, err, holder.cmd.Process.Pid, false)
}
