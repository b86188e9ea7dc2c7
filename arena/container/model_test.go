package container

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// The model explores every interleaving of the queue's operations. One producer may be killed at any
// step. In each interleaving,
//
//   - every element that was put is taken once, in order,
//   - the queue is reported as full or empty only if it is,
//   - each operation ends after a bounded number of tries.
//
// A slot's word is lap*slotLap + reference. Head and tail count elements.
const (
	queueHead model.Word = iota
	queueTail
	queueSlot // first of modelSlots slots
)

// Words that record what happened. The queue itself has no such memory.
const (
	queueKilled = queueSlot + modelSlots + iota // 1 if the mortal producer was killed
	queuePuts                                   // number of elements put so far
	queueTakes                                  // number of elements taken so far
	queueLog                                    // the elements in the order in which they were put
	queueWords  = queueLog + maxPuts
)

const (
	modelSlots = 2
	maxPuts    = 5
	slotLap    = 10 // larger than any reference
	queueTries = 12 // bound on the tries of an operation
)

// Registers.
const (
	regEnd   = iota // head or tail as loaded
	regSlot         // the slot's word
	regTries        // tries for this element
	regDone         // number of elements done
	regTruth        // 1 if the queue was full when the slot was loaded
)

// queueWeakness is a part of the algorithm that is left out, to show that it is needed.
type queueWeakness int

const (
	queueWhole    queueWeakness = iota
	noTailHelp                  // only the producer that filled the slot moves the tail
	noHelpIfTaken               // others move the tail only while the element is in the slot
	noHeadHelp                  // only the consumer that emptied the slot moves the head
	noLaps                      // a slot does not hold its lap
)

func tries(v *model.View) bool {
	v.Set(regTries, v.Reg(regTries)+1)
	if v.Reg(regTries) > queueTries {
		v.Fail("no progress after %d tries: head %d, tail %d", queueTries, v.Peek(queueHead), v.Peek(queueTail))
		return false
	}
	return true
}

func slotOf(v *model.View) model.Word { return queueSlot + model.Word(v.Reg(regEnd)%modelSlots) }
func lapOf(v *model.View) int         { return v.Reg(regEnd) / modelSlots }

// putNext loads the slot of a put and returns the step that follows.
func (weak queueWeakness) putNext(v *model.View) string {
	slot := v.Load(slotOf(v))
	v.Set(regSlot, slot)
	v.Set(regTruth, 0)
	if v.Peek(queuePuts)-v.Peek(queueTakes) == modelSlots {
		v.Set(regTruth, 1)
	}
	lap := lapOf(v)
	if weak == noLaps {
		lap = slot / slotLap
	}
	switch {
	case slot == lap*slotLap:
		return "fill"
	case slot/slotLap == lap-1 || weak == noLaps:
		return "full"
	case weak == noTailHelp, weak == noHelpIfTaken && slot/slotLap != lap:
		return "put"
	}
	return "help"
}

// putter puts count elements, with the references from first on. If it is mortal, it may be killed.
func putter(name string, weak queueWeakness, first, count int, mortal bool) model.Thread {
	// step returns a step that first ends the thread if it was killed.
	step := func(label, doc string, do func(*model.View)) model.Step {
		return model.Step{Label: label, Doc: doc, Do: func(v *model.View) {
			if mortal && v.Peek(queueKilled) == 1 {
				v.Stop()
				return
			}
			do(v)
		}}
	}
	next := func(v *model.View) {
		v.Set(regTries, 0)
		if v.Set(regDone, v.Reg(regDone)+1); v.Reg(regDone) == count {
			v.Stop()
			return
		}
		v.Goto("put")
	}
	return model.Thread{Name: name, Steps: []model.Step{
		step("put", "tail", func(v *model.View) {
			if tries(v) {
				v.Set(regEnd, v.Load(queueTail))
			}
		}),
		step("", "the slot", func(v *model.View) { v.Goto(weak.putNext(v)) }),
		step("fill", "exchange of the slot", func(v *model.View) {
			ref := first + v.Reg(regDone)
			if !v.CompareAndSwap(slotOf(v), v.Reg(regSlot), v.Reg(regSlot)+ref) {
				v.Goto("put")
				return
			}
			n := v.Peek(queuePuts)
			v.Poke(queueLog+model.Word(n), ref)
			v.Poke(queuePuts, n+1)
		}),
		step("", "exchange of the tail", func(v *model.View) {
			v.CompareAndSwap(queueTail, v.Reg(regEnd), v.Reg(regEnd)+1)
			next(v)
		}),
		step("help", "exchange of the tail, for another", func(v *model.View) {
			v.CompareAndSwap(queueTail, v.Reg(regEnd), v.Reg(regEnd)+1)
			v.Goto("put")
		}),
		step("full", "tail again", func(v *model.View) {
			if v.Load(queueTail) != v.Reg(regEnd) {
				v.Goto("put")
				return
			}
			if v.Reg(regTruth) == 0 {
				v.Fail("called full with room in it")
			}
			next(v) // give up this element
		}),
	}}
}

// taker takes an element whenever the queue has any.
func taker(name string, weak queueWeakness) model.Thread {
	return model.Thread{Name: name, Steps: []model.Step{
		{
			Label: "take", Doc: "head",
			When: func(v *model.View) bool { return v.Reg(regTries) > 0 || v.Peek(queuePuts) > v.Peek(queueTakes) },
			Do: func(v *model.View) {
				if tries(v) {
					v.Set(regEnd, v.Load(queueHead))
				}
			},
		},
		{Doc: "the slot", Do: func(v *model.View) {
			slot := v.Load(slotOf(v))
			v.Set(regSlot, slot)
			lap := lapOf(v)
			switch {
			case slot == lap*slotLap:
				if v.Peek(queuePuts) != v.Peek(queueTakes) {
					v.Fail("called empty with %d in it", v.Peek(queuePuts)-v.Peek(queueTakes))
				}
				v.Set(regTries, 0)
				v.Goto("take")
			case slot/slotLap == lap:
			case weak == noHeadHelp:
				v.Goto("take")
			default:
				v.Goto("help")
			}
		}},
		{Doc: "exchange of the slot", Do: func(v *model.View) {
			if !v.CompareAndSwap(slotOf(v), v.Reg(regSlot), (lapOf(v)+1)*slotLap) {
				v.Goto("take")
				return
			}
			n := v.Peek(queueTakes)
			if got, want := v.Reg(regSlot)%slotLap, v.Peek(queueLog+model.Word(n)); got != want {
				v.Fail("took %d, want %d", got, want)
			}
			v.Poke(queueTakes, n+1)
		}},
		{Doc: "exchange of the head", Do: func(v *model.View) {
			v.CompareAndSwap(queueHead, v.Reg(regEnd), v.Reg(regEnd)+1)
			v.Set(regTries, 0)
			v.Goto("take")
		}},
		{Label: "help", Doc: "exchange of the head, for another", Do: func(v *model.View) {
			v.CompareAndSwap(queueHead, v.Reg(regEnd), v.Reg(regEnd)+1)
			v.Goto("take")
		}},
	}}
}

func queueModel(threads ...model.Thread) model.Model {
	death := model.Thread{Name: "SIGKILL", Steps: []model.Step{{Doc: "of the mortal", Do: func(v *model.View) { v.Poke(queueKilled, 1) }}}}
	return model.Model{
		Words: int(queueWords), Order: model.PSO, Threads: append(threads, death),
		AtRest: func(v *model.View) error {
			if v.Peek(queuePuts) != v.Peek(queueTakes) {
				return errors.New("an element was put and not taken")
			}
			return nil
		},
	}
}

func TestModelOfQueue(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	tests := []struct {
		rule    string
		threads func(weak queueWeakness) []model.Thread
		weak    queueWeakness
		fails   string
		long    bool
	}{
		{rule: "two producers, one of them killed", threads: func(w queueWeakness) []model.Thread {
			return []model.Thread{putter("mortal", w, 1, 2, true), putter("putter", w, 5, 2, false), taker("taker", w)}
		}},
		{rule: "two consumers", long: true, threads: func(w queueWeakness) []model.Thread {
			return []model.Thread{putter("mortal", w, 1, 1, true), putter("putter", w, 5, 2, false), taker("taker", w), taker("taker 2", w)}
		}},
		{rule: "more than a lap", long: true, threads: func(w queueWeakness) []model.Thread {
			return []model.Thread{putter("mortal", w, 1, 1, true), putter("putter", w, 5, 4, false), taker("taker", w)}
		}},
	}
	weak := []struct {
		rule  string
		weak  queueWeakness
		fails string
	}{
		{"no producer moves the tail for another", noTailHelp, "no progress"},
		{"no producer moves the tail past an element that was taken", noHelpIfTaken, "no progress"},
		{"a slot does not hold its lap", noLaps, ""},
	}
	for _, tt := range tests {
		if tt.long && testing.Short() {
			continue // the model has many states
		}
		t.Run(tt.rule, func(t *testing.T) {
			queueModel(tt.threads(tt.weak)...).Explore().Check(t, tt.fails)
		})
	}
	for _, tt := range weak {
		t.Run(fmt.Sprintf("weakened: %s", tt.rule), func(t *testing.T) {
			res := queueModel(tests[0].threads(tt.weak)...).Explore()
			if res.Err == nil {
				t.Error("nothing went wrong")
			}
			if tt.fails != "" {
				res.Check(t, tt.fails)
			}
		})
	}
	t.Run("weakened: no consumer moves the head for another", func(t *testing.T) {
		// mortal stops after it has emptied the slot, as if it were killed there.
		mortal := taker("mortal", queueWhole)
		mortal.Steps[3].Do = func(v *model.View) { v.Stop() }
		threads := func(w queueWeakness) []model.Thread {
			return []model.Thread{putter("putter", w, 1, 3, false), mortal, taker("taker", w)}
		}
		queueModel(threads(queueWhole)...).Explore().Check(t, "")
		queueModel(threads(noHeadHelp)...).Explore().Check(t, "no progress")
	})
}
