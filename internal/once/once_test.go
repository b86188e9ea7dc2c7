package once

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// trial counts its calls, and fails while err is set.
type trial struct {
	calls int
	err   error
}

func (t *trial) try() (int, error) {
	t.calls++
	if t.err != nil {
		return 0, t.err
	}
	return t.calls, nil
}

func TestAFailureIsTriedAgainAndASuccessIsNot(t *testing.T) {
	f := &trial{err: errors.New("too many open files")}
	get := Func(f.try)
	for range 2 {
		if n, err := get(); n != 0 || err != f.err {
			t.Errorf("got %d, %v", n, err)
		}
	}
	f.err = nil
	for range 2 {
		if n, err := get(); n != 3 || err != nil {
			t.Errorf("got %d, %v; want the result of the third call", n, err)
		}
	}
}

func TestAFailureIsReturnedAgainForThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &trial{err: errors.New("too many open files")}
		v := Value[int]{Pause: time.Second}
		for _, step := range []struct{ pause, calls int }{{0, 1}, {999, 1}, {1, 2}, {999, 2}} {
			time.Sleep(time.Duration(step.pause) * time.Millisecond)
			if _, err := v.Get(f.try); err != f.err || f.calls != step.calls {
				t.Errorf("after %d ms more: %d calls, %v; want %d", step.pause, f.calls, err, step.calls)
			}
		}
		if _, known := v.Known(); known {
			t.Error("a failure is known as a result")
		}
		f.err = nil
		time.Sleep(time.Millisecond)
		if n, err := v.Get(f.try); n != 3 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		if n, known := v.Known(); n != 3 || !known {
			t.Errorf("known: %d, %t", n, known)
		}
	})
}
