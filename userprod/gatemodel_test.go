package userprod

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A model of the gate: a few goroutines lock and unlock it, in every interleaving. The context of
// the first goroutine may end. Rules:
//
//   - two goroutines never have the gate at once,
//   - no goroutine sleeps forever: in the end each has had the gate or given up.
//
// taken and asleep are atomic variables, so each access is one step. Channels are modelled by their
// effect: wake is a number of tokens; hand, which is unbuffered, is a state of the goroutine that
// waits on it.
const (
	gateTaken  model.Word = iota // gate.taken
	gateAsleep                   // gate.asleep
	gateWake                     // tokens in gate.wake
	gateInside                   // number of goroutines that have the gate
	gateDone                     // number of goroutines that have ended
	gateOver                     // 1 if the context of the first goroutine is done
	gateSleeps                   // one word per goroutine: one of the states below
)

// States of a goroutine in the select of gate.sleep.
const (
	sleepNone = iota
	sleepWake // waits for a token
	sleepHand // waits for a token or on hand
	sleepGot  // was handed the gate
)

// gateWeakness is a part of the gate that a test leaves out to show that the part is necessary.
type gateWeakness int

const (
	gateWhole     gateWeakness = iota
	gateNoRecheck              // Unlock does not load asleep after it has stored taken
	gateLate                   // a sleeper increments asleep after its TryLock
	gateUnheld                 // Unlock hands the gate over and also stores taken
	gatePlain                  // Unlock stores taken plainly, so the load of asleep may come first
	gateNoToken                // wake is unbuffered, so it wakes only a goroutine already in select
)

// Registers of a goroutine.
const (
	regLocked = iota // how often the goroutine has locked the gate
	regHand          // 1 after a wakeup: select waits on hand too
)

// gateUser models a goroutine that locks and unlocks the gate a number of times.
type gateUser struct {
	self, goroutines, times int
	weak                    gateWeakness
}

func (u gateUser) sleeps(goroutine int) model.Word { return gateSleeps + model.Word(goroutine) }

func (u gateUser) tryLock(v *model.View) bool {
	locked := v.CompareAndSwap(gateTaken, 0, 1)
	if locked {
		u.enter(v)
	}
	return locked
}

func (u gateUser) enter(v *model.View) {
	v.Poke(gateInside, v.Peek(gateInside)+1)
	if v.Peek(gateInside) > 1 {
		v.Fail("two goroutines have the gate")
	}
}

// next makes the goroutine continue after Unlock: it locks the gate again, or ends.
func (u gateUser) next(v *model.View) {
	if v.Set(regLocked, v.Reg(regLocked)+1); v.Reg(regLocked) < u.times {
		v.Set(regHand, 0)
		v.Goto("lock")
	} else {
		v.Goto("end")
	}
}

// sleeper returns a goroutine that waits in a select in one of the states, or -1.
func (u gateUser) sleeper(v *model.View, states ...int) int {
	for i := range u.goroutines {
		if slices.Contains(states, v.Peek(u.sleeps(i))) {
			return i
		}
	}
	return -1
}

// over reports whether the context of the goroutine is done.
func (u gateUser) over(v *model.View) bool { return u.self == 0 && v.Peek(gateOver) == 1 }

func (u gateUser) lock() []model.Step {
	late := u.weak == gateLate
	return []model.Step{
		{Label: "lock", Doc: "Lock: TryLock", Do: func(v *model.View) {
			if u.tryLock(v) {
				v.Goto("unlock")
			} else if late {
				v.Goto("try")
			}
		}},
		{Label: "asleep", Doc: "sleep: asleep.Add(1)", Do: func(v *model.View) {
			v.Add(gateAsleep, 1)
			if late {
				v.Goto("select")
			}
		}},
		{Label: "try", Doc: "sleep: TryLock", Do: func(v *model.View) {
			if u.tryLock(v) {
				v.Goto("awake")
			} else if late && v.Reg(regHand) == 0 {
				v.Goto("asleep")
			}
		}},
		{Label: "select", Doc: "sleep: select begins", Do: func(v *model.View) {
			v.Poke(u.sleeps(u.self), sleepWake+v.Reg(regHand))
		}},
		{Doc: "sleep: select ends", When: func(v *model.View) bool {
			return v.Peek(u.sleeps(u.self)) == sleepGot || v.Peek(gateWake) > 0 || u.over(v)
		}, Do: u.selected},
		{Label: "give up", Doc: "sleep: asleep.Add(-1), returns the context's error", Do: func(v *model.View) {
			v.Add(gateAsleep, -1)
			v.Goto("end")
		}},
		{Label: "awake", Doc: "sleep: asleep.Add(-1)", Do: func(v *model.View) { v.Add(gateAsleep, -1) }},
	}
}

// selected models the end of the select in gate.sleep.
func (u gateUser) selected(v *model.View) {
	switch {
	case v.Peek(u.sleeps(u.self)) == sleepGot:
		u.enter(v)
		v.Goto("awake")
	case v.Peek(gateWake) > 0:
		v.Poke(gateWake, 0)
		v.Set(regHand, 1)
		v.Goto("try")
	default:
		v.Goto("give up")
	}
	v.Poke(u.sleeps(u.self), sleepNone)
}

func (u gateUser) unlock() []model.Step {
	return []model.Step{
		{Label: "unlock", Doc: "Unlock: asleep.Load", Do: func(v *model.View) {
			v.Poke(gateInside, v.Peek(gateInside)-1)
			if v.Load(gateAsleep) == 0 {
				v.Goto("free")
			}
		}},
		{Doc: "Unlock: hand", Do: func(v *model.View) {
			to := u.sleeper(v, sleepHand)
			if to < 0 {
				return
			}
			v.Poke(u.sleeps(to), sleepGot)
			if u.weak != gateUnheld {
				u.next(v)
			}
		}},
		{Label: "free", Doc: "Unlock: taken.Store(false)", Do: func(v *model.View) {
			if u.weak == gatePlain {
				v.Store(gateTaken, 0)
			} else {
				v.Swap(gateTaken, 0)
			}
		}},
		{Doc: "Unlock: asleep.Load again", Do: func(v *model.View) {
			if v.Load(gateAsleep) == 0 || u.weak == gateNoRecheck {
				u.next(v)
			}
		}},
		{Doc: "Unlock: wake", Do: func(v *model.View) {
			if u.weak != gateNoToken || u.sleeper(v, sleepWake, sleepHand) >= 0 {
				v.Poke(gateWake, 1)
			}
			u.next(v)
		}},
	}
}

func (u gateUser) thread() model.Thread {
	steps := append(u.lock(), u.unlock()...)
	return model.Thread{Name: fmt.Sprintf("goroutine %d", u.self), Steps: append(steps, model.Step{
		Label: "end", Doc: "ended", Do: func(v *model.View) {
			v.Barrier()
			v.Poke(gateDone, v.Peek(gateDone)+1)
		},
	})}
}

var errSleeper = errors.New("a goroutine sleeps for ever")

// gateModel is a model of the gate in which each goroutine locks it times times.
func gateModel(goroutines, times int, cancel bool, weak gateWeakness) model.Model {
	m := model.Model{Words: int(gateSleeps) + goroutines, Order: model.PSO}
	for i := range goroutines {
		m.Threads = append(m.Threads, gateUser{i, goroutines, times, weak}.thread())
	}
	if cancel {
		m.Threads = append(m.Threads, model.Thread{Name: "cancel", Steps: []model.Step{
			{Doc: "the first goroutine's context ends", Do: func(v *model.View) { v.Poke(gateOver, 1) }},
		}})
	}
	m.AtRest = func(v *model.View) error {
		if v.Peek(gateDone) != goroutines {
			return errSleeper
		}
		return nil
	}
	return m
}

func TestModelOfTheGate(t *testing.T) {
	for _, tt := range []struct {
		goroutines, times int
		cancel            bool
		long              bool // left out with -short
	}{
		{2, 2, false, false},
		{2, 3, true, false},
		{3, 1, true, false},
		{3, 2, true, true},
		{4, 1, true, true},
	} {
		if tt.long && (testing.Short() || testenv.Race) {
			continue // the model has too many states
		}
		t.Run(fmt.Sprintf("%d goroutines, %d times, cancel %t", tt.goroutines, tt.times, tt.cancel), func(t *testing.T) {
			gateModel(tt.goroutines, tt.times, tt.cancel, gateWhole).Explore().Check(t, "")
		})
	}
}

// Each part of the gate is necessary: without it, the explorer finds a broken rule.
func TestModelOfTheGateWeakened(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		weak  gateWeakness
		fails string
	}{
		{"Unlock loads asleep only once", gateNoRecheck, errSleeper.Error()},
		{"a sleeper counts itself too late", gateLate, errSleeper.Error()},
		{"the gate is handed over and free", gateUnheld, "two goroutines have the gate"},
		{"taken is stored plainly", gatePlain, errSleeper.Error()},
		{"no token waits for a sleeper", gateNoToken, errSleeper.Error()},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			gateModel(3, 2, false, tt.weak).Explore().Check(t, tt.fails)
		})
	}
}
