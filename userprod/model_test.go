package userprod

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A model of the goroutines of a Producer, the kernel that drains the ring, the death of the
// process at any point, and the next Producer, in every interleaving. Rules:
//
//   - no payload is read before it is complete or twice, or overwritten before it is read,
//   - no uncommitted sample is drained,
//   - every committed sample is drained, and in the end the ring is empty.
//
// Positions count samples; each sample takes one slot. Words that model memory are accessed with
// Load, Store and so on; all other words are accessed with Peek and Poke.
const (
	consumerPos model.Word = iota
	producerPos
	mutex // Producer.mu
	head  // Producer.head
	headers
	payloads = headers + slots
)

// Words that do not model memory. tried, told and drained have one bit per sample.
const (
	dead    = payloads + slots + iota // 1 if the process was killed
	gone                              // number of goroutines that ended, by themselves or with the process
	tried                             // samples whose Commit has begun
	told                              // samples whose Commit has succeeded
	drained                           // samples that were drained
	protocolWords
)

const slots = 2

// A header word is a state plus states times the tag.
const (
	stateNone = iota
	stateBusy
	stateCommitted
	stateDiscarded
	states = 4
)

// op is what a goroutine does with one sample.
type op int

const (
	opCommit  op = iota // Reserve, Commit
	opDiscard           // Reserve, Discard
	opWrite             // TryWrite, or a Batch
	opAgain             // a second Commit of the last sample
)

// weakness is a part of the protocol that a test leaves out to show that the part is necessary.
type weakness int

const (
	none          weakness = iota
	headerLast             // Reserve writes the header after it has moved producer_pos
	plainPosition          // producer_pos is stored plainly, not with release semantics
	plainUnlock            // the mutex is released by a plain store
	noMutex                // there is no mutex
	plainClear             // Commit clears the BUSY bit with a plain store
	positionFirst          // Write moves producer_pos before it writes
	noTag                  // headers have no tag
	noRestore              // the next Producer does not discard busy samples
	noClaim                // the next Producer opens the ring before the previous process is dead
)

// Registers of a goroutine.
const (
	regOp  = iota
	regPos // position of its sample
)

func slotOf(base model.Word, pos int) model.Word { return base + model.Word(pos%slots) }

// goroutine models a goroutine that does ops one after the other. Its samples are numbered from
// first.
type goroutine struct {
	weak  weakness
	first int
	ops   []op
}

func (g goroutine) op(v *model.View) op { return g.ops[v.Reg(regOp)] }

// bit returns the bit of the current sample of the goroutine.
func (g goroutine) bit(v *model.View) int { return 1 << (g.first + v.Reg(regOp)) }

func (g goroutine) tag(v *model.View) int {
	if g.weak == noTag {
		return 0
	}
	return states * v.Reg(regPos)
}

func (g goroutine) next(v *model.View) {
	if v.Set(regOp, v.Reg(regOp)+1); v.Reg(regOp) == len(g.ops) {
		v.Goto("end")
	} else {
		v.Goto("begin")
	}
}

func (g goroutine) payload(v *model.View) {
	if v.Reg(regPos)-v.Peek(consumerPos) >= slots {
		v.Fail("sample %d overwrites one that was not read", v.Reg(regPos))
	}
	v.Store(slotOf(payloads, v.Reg(regPos)), 1+g.first+v.Reg(regOp))
}

// reserveHeader stores the header of a busy sample.
func (g goroutine) reserveHeader(v *model.View) {
	v.Store(slotOf(headers, v.Reg(regPos)), stateBusy+g.tag(v))
}

func (g goroutine) position(v *model.View) {
	if g.weak == plainPosition {
		v.Store(producerPos, v.Reg(regPos)+1)
	} else {
		v.Release(producerPos, v.Reg(regPos)+1)
	}
}

func (g goroutine) unlock(v *model.View) {
	if g.weak == plainUnlock {
		v.Store(mutex, 0)
	} else {
		v.Release(mutex, 0)
	}
}

// lock models the beginning of Reserve and TryWrite.
func (g goroutine) lock() []model.Step {
	return []model.Step{
		{Label: "begin", Doc: "mu.Lock", When: func(v *model.View) bool {
			return v.Peek(mutex) == 0 || v.Peek(dead) == 1
		}, Do: func(v *model.View) {
			if g.op(v) == opAgain {
				v.Goto("commit")
			} else if g.weak != noMutex {
				v.Swap(mutex, 1)
			}
		}},
		{Doc: "room: consumer_pos, head", Do: func(v *model.View) {
			v.Set(regPos, v.Load(head))
			if v.Reg(regPos)+1-v.Load(consumerPos) > slots {
				v.Goto("full")
			} else if g.op(v) == opWrite {
				v.Goto("write")
			} else if g.weak == headerLast {
				v.Goto("publish")
			}
		}},
	}
}

func (g goroutine) reserve() []model.Step {
	return []model.Step{
		{Doc: "Reserve: SetTagged: BUSY", Do: g.reserveHeader},
		{Label: "publish", Doc: "Reserve: publish: SetProducerPos", Do: g.position},
		{Doc: "Reserve: publish: head", Do: func(v *model.View) {
			v.Store(head, v.Reg(regPos)+1)
			if g.weak != headerLast {
				v.Goto("unlock")
			}
		}},
		{Doc: "Reserve: SetTagged: BUSY, too late", Do: g.reserveHeader},
		{Label: "unlock", Doc: "mu.Unlock", Do: g.unlock},
		{Doc: "the payload", Do: g.payload},
	}
}

func (g goroutine) commit() []model.Step {
	return []model.Step{
		{Label: "commit", Doc: "Commit, Discard: CompareAndSwapUint64", Do: func(v *model.View) {
			state := stateCommitted
			if g.op(v) == opDiscard {
				state = stateDiscarded
			} else if g.op(v) == opCommit {
				v.Poke(tried, v.Peek(tried)|g.bit(v))
			}
			at := slotOf(headers, v.Reg(regPos))
			switch {
			case g.weak == plainClear:
				v.Store(at, state+g.tag(v))
			case !v.CompareAndSwap(at, stateBusy+g.tag(v), state+g.tag(v)):
				if g.weak == noClaim || g.op(v) == opAgain { // the call fails
					g.next(v)
				} else {
					v.Fail("a reserved sample is not BUSY")
				}
			}
		}},
		{Doc: "Commit returns", Do: func(v *model.View) {
			if g.op(v) == opCommit {
				v.Poke(told, v.Peek(told)|g.bit(v))
			}
			g.next(v)
		}},
	}
}

func (g goroutine) write() []model.Step {
	return []model.Step{
		{Label: "write", Doc: "TryWrite: SetHeader", Do: func(v *model.View) {
			v.Poke(tried, v.Peek(tried)|g.bit(v))
			if g.weak == positionFirst {
				g.position(v)
			}
			v.Store(slotOf(headers, v.Reg(regPos)), stateCommitted)
		}},
		{Doc: "TryWrite: the payload", Do: g.payload},
		{Doc: "TryWrite: publish: SetProducerPos", Do: func(v *model.View) {
			if g.weak != positionFirst {
				g.position(v)
			}
		}},
		{Doc: "TryWrite: publish: head", Do: func(v *model.View) { v.Store(head, v.Reg(regPos)+1) }},
		{Doc: "mu.Unlock, TryWrite returns", Do: func(v *model.View) {
			g.unlock(v)
			v.Poke(told, v.Peek(told)|g.bit(v))
			g.next(v)
		}},
		{Label: "full", Doc: "mu.Unlock", Do: func(v *model.View) { g.unlock(v); g.next(v) }},
	}
}

func (g goroutine) thread(name string) model.Thread {
	steps := slices.Concat(g.lock(), g.reserve(), g.commit(), g.write())
	mortal(steps)
	steps = append(steps, model.Step{Label: "end", Doc: "gone", Do: func(v *model.View) {
		v.Barrier()
		v.Poke(gone, v.Peek(gone)+1)
	}})
	return model.Thread{Name: name, Steps: steps}
}

// allCame is the rule for states in which no thread can make a step: all committed samples were
// drained and the ring is empty.
func allCame(n int) func(v *model.View) error {
	return func(v *model.View) error {
		switch lost := v.Peek(told) &^ v.Peek(drained); {
		case lost != 0:
			return fmt.Errorf("committed samples did not come: %b", lost)
		case v.Peek(consumerPos) != v.Peek(producerPos):
			return fmt.Errorf("the ring is stuck at %d of %d", v.Peek(consumerPos), v.Peek(producerPos))
		case v.Peek(told)>>n == 0:
			return fmt.Errorf("the next producer does not get on")
		}
		return nil
	}
}

func protocol(order model.Order, weak weakness, goroutines ...[]op) model.Model {
	m := model.Model{Words: int(protocolWords), Order: order}
	n := 0
	for i, ops := range goroutines {
		m.Threads = append(m.Threads, goroutine{weak, n, ops}.thread(fmt.Sprintf("goroutine %d", i)))
		n += len(ops)
	}
	m.AtRest = allCame(n)
	m.Threads = append(m.Threads, drainThread(), nextProducer(weak, len(goroutines), n), model.Thread{
		Name: "SIGKILL", Steps: []model.Step{{Doc: "kill", Do: func(v *model.View) { v.Poke(dead, 1) }}},
	})
	return m
}

func TestModelOfProducing(t *testing.T) {
	tests := []struct {
		rule       string
		goroutines [][]op
		long       bool // left out with -short
	}{
		{rule: "a reserved sample", goroutines: [][]op{{opCommit}}},
		{rule: "more samples than slots", goroutines: [][]op{{opCommit, opDiscard, opCommit, opWrite}}},
		{rule: "writes around the ring", goroutines: [][]op{{opWrite, opWrite, opWrite, opWrite, opWrite}}},
		{rule: "two commit in any order", goroutines: [][]op{{opCommit}, {opCommit}}},
		{rule: "one discards", goroutines: [][]op{{opDiscard}, {opCommit}}},
		{rule: "one writes", goroutines: [][]op{{opCommit}, {opWrite, opWrite}}},
		{rule: "two that go around the ring", goroutines: [][]op{{opCommit, opDiscard}, {opCommit, opWrite}}, long: true},
		{rule: "three", goroutines: [][]op{{opCommit}, {opWrite}, {opCommit}}, long: true},
		{rule: "a second Commit, perhaps laps later", goroutines: [][]op{{opCommit, opAgain}, {opWrite, opCommit}}, long: true},
	}
	for _, tt := range tests {
		for _, order := range []model.Order{model.TSO, model.PSO} {
			if tt.long && (testing.Short() || testenv.Race) || order == model.PSO && testing.Short() {
				continue // the model has too many states
			}
			t.Run(tt.rule+" "+order.String(), func(t *testing.T) {
				protocol(order, none, tt.goroutines...).Explore().Check(t, "")
			})
		}
	}
}

// Each part of the protocol is necessary: without it, the explorer finds a broken rule.
func TestModelOfProducingWeakened(t *testing.T) {
	two := [][]op{{opCommit}, {opCommit}}
	tests := []struct {
		rule       string
		weak       weakness
		goroutines [][]op
		order      model.Order
		fails      string
	}{
		{"a header is written after the position", headerLast, two, model.TSO, "before it is complete"},
		{"the position is no releasing store", plainPosition, [][]op{{opWrite}}, model.PSO, "before it is complete"},
		{"the mutex is not released by a releasing store", plainUnlock, two, model.PSO, "before it is complete"},
		{"there is no mutex", noMutex, two, model.TSO, "a reserved sample is not BUSY"},
		{"the BUSY bit is taken away by a plain store", plainClear, two, model.PSO, "before it is complete"},
		{"a write moves the position first", positionFirst, [][]op{{opWrite}}, model.TSO, "before it is complete"},
		{"no tag tells reservations apart", noTag, [][]op{{opCommit, opAgain}, {opWrite, opCommit}}, model.TSO, "a reserved sample is not BUSY"},
		{"what is BUSY stays so", noRestore, two, model.TSO, "did not come"},
		{"the next producer does not wait for the end of the one before", noClaim, two, model.TSO, "before it is complete"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			protocol(tt.order, tt.weak, tt.goroutines...).Explore().Check(t, tt.fails)
		})
	}
}
