package consumer

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A model of a Reader that waits, and of the producers in the kernel. Rules:
//
//   - no wakeup is lost: a Reader never sleeps for good with a record to read,
//   - no payload is read before its record is committed,
//   - no record is lost or read twice,
//   - no record is overwritten before it was read.
//
// Positions count records. Each record takes one slot of the ring. As in the kernel, one slot stays
// free. Words that model memory are accessed with Load, Store and so on; words that model other
// state are accessed with Peek and Poke.
const (
	consumerPos model.Word = iota
	producerPos
	spinlock                   // bpf_ringbuf.spinlock
	headers                    // one word per slot
	payloads = headers + slots // one word per slot: position of the record + 1
)

// Words that model other state.
const (
	irqWork    = payloads + slots + iota // bpf_ringbuf.work is queued
	epollReady                           // the ring is in the ready list of the runtime's epoll instance
	pollReady                            // internal state of the runtime: pollDesc.rg is pdReady
	read                                 // number of records that the Reader has read
	protocolWords
)

const slots = 3

// weakness is a part of the protocol that a test leaves out to show that the part is necessary.
type weakness int

const (
	none              weakness = iota
	plainPublish               // consumer_pos is stored without a barrier
	lookOnlyBefore             // the ring is not checked after the publication
	resetAfterLook             // the ready flag is reset after the check, not before it
	sleepHolding               // Coalesce keeps the space of the last record unpublished during the sleep
	publishBeforeRead          // consumer_pos is stored before the payload is read
	ignoreBusy                 // the BUSY bit is ignored
	plainCommit                // the kernel commits without a barrier
)

// Registers of the Reader.
const (
	regRead      = iota // Reader.pos
	regPublished        // Reader.published
	regGoal             // walk.goal
	regFrom             // where the pass began
	regPaused           // 1 if the Reader has paused since the last pass
)

// mode says when a Reader publishes.
type mode int

const (
	atEnd    mode = iota // at the end of a pass
	early                // after each record, as if each were an eighth of the ring
	coalesce             // all but the last record; that one after a pause and another check
)

func (m mode) String() string { return [...]string{"at the end", "early", "coalesce"}[m] }

// readerModel models a goroutine in Reader.Records.
type readerModel struct {
	weak weakness
	mode mode
}

func readerThread(weak weakness, mode mode) model.Thread {
	r := readerModel{weak, mode}
	return model.Thread{Name: "reader", Steps: slices.Concat(r.poll(), r.sleep(), r.pass())}
}

// slotOf returns the slot of the next record.
func slotOf(v *model.View) model.Word { return model.Word(v.Reg(regRead) % slots) }

// store publishes a position.
func (r readerModel) store(v *model.View, pos int) {
	if r.weak == plainPublish {
		v.Store(consumerPos, pos)
	} else {
		v.Swap(consumerPos, pos)
	}
	v.Set(regPublished, pos)
}

// look models Reader.ready. It goes to the label nothing if there is nothing to read, and otherwise
// begins a pass.
func look(label, doc, nothing string) []model.Step {
	return []model.Step{
		{Label: label, Doc: doc + ": ready: producer_pos", Do: func(v *model.View) {
			if v.Load(producerPos) == v.Reg(regRead) {
				v.Goto(nothing)
			}
		}},
		{Doc: doc + ": ready: the header", Do: func(v *model.View) {
			if v.Load(headers+slotOf(v)) == headerBusy {
				v.Goto(nothing)
			} else {
				v.Goto("pass")
			}
		}},
	}
}

// poll models Reader.poll.
func (r readerModel) poll() []model.Step {
	return append(look("wait", "Wait", "nothing"), []model.Step{
		{Label: "nothing", Doc: "Wait: hold: pause", Do: func(v *model.View) {
			if held := v.Reg(regRead) != v.Reg(regPublished); r.mode == coalesce && held && v.Reg(regPaused) == 0 {
				v.Set(regPaused, 1)
				v.Goto("wait")
			}
		}},
		{Doc: "Wait: publish(0): Mapping.MoveConsumerPos", Do: func(v *model.View) {
			if v.Reg(regRead) != v.Reg(regPublished) && r.weak != sleepHolding {
				r.store(v, v.Reg(regRead))
			}
			switch r.weak {
			case resetAfterLook:
				v.Goto("peek")
			default:
				v.Goto("reset")
			}
		}},
	}...)
}

// sleep models Poller.Wait.
func (r readerModel) sleep() []model.Step {
	reset := func(label, next string) model.Step {
		return model.Step{Label: label, Doc: "sleep: RawRead: runtime_pollReset: pollDesc.rg = pdNil", Do: func(v *model.View) {
			v.Poke(pollReady, 0)
			v.Goto(next)
		}}
	}
	return slices.Concat(
		[]model.Step{reset("reset", map[bool]string{false: "peek", true: "park"}[r.weak == lookOnlyBefore])},
		look("peek", "sleep", map[bool]string{false: "park", true: "reset late"}[r.weak == resetAfterLook]),
		[]model.Step{
			reset("reset late", "park"),
			{
				Label: "park", Doc: "sleep: runtime_pollWait: until pdReady, which it takes",
				When: func(v *model.View) bool { return v.Peek(pollReady) == 1 },
				Do:   func(v *model.View) { v.Poke(pollReady, 0); v.Goto("peek") },
			},
		},
	)
}

// pass models Reader.Pass.
func (r readerModel) pass() []model.Step {
	return []model.Step{
		{Label: "pass", Doc: "Pass: begin: producer_pos", Do: func(v *model.View) {
			v.Set(regGoal, v.Load(producerPos))
			v.Set(regFrom, v.Reg(regRead))
			v.Set(regPaused, 0)
			if r.weak == publishBeforeRead {
				r.store(v, v.Reg(regGoal))
			}
		}},
		{Label: "record", Doc: "Pass: the header", Do: func(v *model.View) {
			if v.Reg(regRead) == v.Reg(regGoal) {
				v.Goto("end")
				return
			}
			switch header := v.Load(headers + slotOf(v)); {
			case header == headerBusy && r.weak != ignoreBusy:
				v.Goto("end")
			case header == headerDiscarded:
				v.Set(regRead, v.Reg(regRead)+1)
				v.Poke(read, v.Reg(regRead))
				v.Goto("record")
			}
		}},
		{Doc: "Pass: the payload", Do: func(v *model.View) {
			if got, want := v.Load(payloads+slotOf(v)), v.Reg(regRead)+1; got != want {
				v.Fail("record %d read before it was committed, lost or twice: it says %d", want-1, got-1)
			}
			v.Set(regRead, v.Reg(regRead)+1)
			v.Poke(read, v.Reg(regRead))
			if r.mode != early {
				v.Goto("record")
			}
		}},
		{Doc: "Pass: resolve: publish(0)", Do: func(v *model.View) {
			r.store(v, v.Reg(regRead))
			v.Goto("record")
		}},
		{Label: "end", Doc: "Pass: end: publish(hold)", Do: func(v *model.View) {
			to := v.Reg(regRead)
			if r.mode == coalesce && to > v.Reg(regFrom) {
				to--
			}
			if to != v.Reg(regPublished) && r.weak != publishBeforeRead {
				r.store(v, to)
			}
			v.Goto("wait")
		}},
	}
}

// noLostWakeup is the rule for states in which no thread can take a step: the Reader sleeps and has
// nothing to read.
func noLostWakeup(v *model.View) error {
	pos := v.Peek(read)
	if pos == v.Peek(producerPos) || v.Peek(headers+model.Word(pos%slots)) == headerBusy {
		return nil
	}
	return errors.New("lost wakeup: the reader sleeps with a record to read")
}

// protocol is a model of a Reader with one producer for each element of producers.
func protocol(order model.Order, weak weakness, mode mode, producers ...[]kernelFlags) model.Model {
	m := model.Model{Words: int(protocolWords), Order: order, AtRest: noLostWakeup, Threads: slices.Clone(wakeup)}
	m.Threads = append(m.Threads, readerThread(weak, mode))
	for i, flags := range producers {
		m.Threads = append(m.Threads, kernelProducer(fmt.Sprintf("producer %d", i), weak, flags...))
	}
	return m
}

var (
	adaptive = kernelFlags{}
	noWakeup = kernelFlags{noWakeup: true}
	force    = kernelFlags{force: true}
	discard  = kernelFlags{discard: true}
)

// leaveOutLong reports whether to leave out models with many states: with -short, for slow
// machines, and with the race detector, which finds nothing in a model.
func leaveOutLong() bool { return testing.Short() || testenv.Race }

func TestModelOfWaiting(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	tests := []struct {
		rule      string
		producers [][]kernelFlags
		fails     string
		long      bool // left out with -short
	}{
		{rule: "a record", producers: [][]kernelFlags{{adaptive}}},
		{rule: "a record for each slot", producers: [][]kernelFlags{{adaptive, adaptive, adaptive}}},
		{rule: "more records than slots", producers: [][]kernelFlags{{adaptive, adaptive, adaptive, adaptive, adaptive}}, long: true},
		{rule: "a BUSY head behind which another commits", producers: [][]kernelFlags{{adaptive}, {adaptive}}},
		{rule: "two producers that go around the ring", producers: [][]kernelFlags{{adaptive, adaptive}, {adaptive, adaptive}}, long: true},
		{rule: "discarded records", producers: [][]kernelFlags{{discard, adaptive, discard}}},
		{rule: "discarded records of two producers", producers: [][]kernelFlags{{discard}, {adaptive, discard}}, long: true},
		{rule: "a run without wakeup closed by a forced one", producers: [][]kernelFlags{{noWakeup, force, noWakeup, force}}},
		{rule: "forced ones beside others", producers: [][]kernelFlags{{force}, {adaptive, force}}, long: true},
		// In these cases only the slow timer, which is not in the model, wakes the Reader.
		{rule: "a run whose forced one finds no room", producers: [][]kernelFlags{{noWakeup, noWakeup, force}}, fails: "lost wakeup"},
		{rule: "a record without wakeup", producers: [][]kernelFlags{{noWakeup}}, fails: "lost wakeup"},
		{
			rule:      "one discarded without wakeup swallows the wakeup of the next",
			producers: [][]kernelFlags{{{noWakeup: true, discard: true}, adaptive}}, fails: "lost wakeup",
		},
	}
	for _, tt := range tests {
		for mode := range coalesce + 1 {
			for _, order := range []model.Order{model.TSO, model.PSO} {
				if tt.long && leaveOutLong() || order == model.PSO && testing.Short() {
					continue
				}
				t.Run(fmt.Sprintf("%s, published %s, %s", tt.rule, mode, order), func(t *testing.T) {
					protocol(order, none, mode, tt.producers...).Explore().Check(t, tt.fails)
				})
			}
		}
	}
}

// Each part of the protocol is necessary: without it, the explorer finds a broken rule.
func TestModelOfWaitingWeakened(t *testing.T) {
	one, two, four := []kernelFlags{adaptive}, []kernelFlags{adaptive, adaptive}, []kernelFlags{adaptive, adaptive, adaptive, adaptive}
	tests := []struct {
		rule      string
		weak      weakness
		mode      mode
		producers [][]kernelFlags
		fails     string
	}{
		{"consumer_pos is published without a barrier", plainPublish, atEnd, [][]kernelFlags{two}, "lost wakeup"},
		{"the last look comes before the publication", lookOnlyBefore, atEnd, [][]kernelFlags{two}, "lost wakeup"},
		{"the ready flag is reset after the last look", resetAfterLook, atEnd, [][]kernelFlags{one}, "lost wakeup"},
		{"space is held back in sleep", sleepHolding, coalesce, [][]kernelFlags{two}, "lost wakeup"},
		{"records are given back before they are read", publishBeforeRead, atEnd, [][]kernelFlags{four}, "overwrites one that was not read"},
		{"the BUSY bit is not looked at", ignoreBusy, atEnd, [][]kernelFlags{one, one}, "read before it was committed"},
		{"the kernel commits without a barrier", plainCommit, atEnd, [][]kernelFlags{two}, "lost wakeup"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			protocol(model.TSO, tt.weak, tt.mode, tt.producers...).Explore().Check(t, tt.fails)
		})
	}
}
