package consumer

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A model of Readers that steal a ring from each other while a producer writes. It has the words
// and the producer of the model of waiting. The holder of the claim is preempted at any step,
// robbed, and continues. Rules:
//
//   - consumer_pos never moves back: the producer would never find room again,
//   - no Reader uses a record that was overwritten while it read it,
//   - no record is overwritten before a Reader used it, and none is skipped.
//
// A Reader uses a record at most once: it writes the record to its output, in BeforePublish. Two
// Readers may use the same record.
const (
	claimWord  = protocolWords + iota // the Reader that holds the ring, from 1 on
	claimWords                        // number of words of the model
)

// Registers of a Reader with a claim.
const (
	regPosition = iota // Reader.pos
	regMoved           // Reader.published
	regEnd             // walk.goal
	regSeen            // payload of the record at regPosition, as read
	regAlone           // 1 if Reader.rivals is noRivals: the Reader has robbed no other
	regBatch           // formatted records: position + 1 and payload of each
)

// batch is the number of records that a Reader formats before it publishes them.
const batch = 2

// claimWeakness is a part of the protocol that a test leaves out to show that the part is
// necessary.
type claimWeakness int

const (
	whole          claimWeakness = iota
	storePublish                 // consumer_pos is stored without a compare-and-swap, and the claim is not checked again
	storeAfterLook               // consumer_pos is stored right after a second check of the claim
	unproven                     // the thief does not load consumer_pos after its copy
	useUnlooked                  // a record is used without a check of the claim before
	ignoreRobbed                 // the thief takes a failed swap for a success
	noLookBarrier                // the check of the claim before BeforePublish may be made before the records are read
)

// claimReader is Reader number self. The first finds the ring unclaimed, the others steal it.
func claimReader(self int, weak claimWeakness) model.Thread {
	slot := func(v *model.View) model.Word { return model.Word(v.Reg(regPosition) % slots) }
	begin := []model.Step{
		{Doc: "claim: Take", When: func(v *model.View) bool { return v.Peek(claimWord) < self }, Do: func(v *model.View) {
			if v.Peek(claimWord) == 0 {
				v.Set(regAlone, 1)
			}
			v.Swap(claimWord, self)
		}},
		{Doc: "newReader: consumer_pos", Do: func(v *model.View) {
			v.Set(regPosition, v.Acquire(consumerPos))
			v.Set(regMoved, v.Reg(regPosition))
		}},
		{
			Label: "wait", Doc: "Wait: until there is a record or the ring is stolen",
			When: func(v *model.View) bool {
				return v.Peek(producerPos) != v.Reg(regPosition) || v.Peek(claimWord) != self
			},
			Do: func(*model.View) {},
		},
		lookAtClaim(self, "Pass: begin: stolen"),
		{Doc: "Pass: begin: producer_pos", Do: func(v *model.View) { v.Set(regEnd, v.Acquire(producerPos)) }},
		{Doc: "copyProven: consumer_pos before the copy", Do: func(v *model.View) { skipTaken(v) }},
	}
	walk := []model.Step{
		{Label: "record", Doc: "Pass: the header", Do: func(v *model.View) {
			if v.Reg(regPosition) >= v.Reg(regEnd) || v.Acquire(headers+slot(v)) != headerCommitted {
				v.Goto("publish")
			}
		}},
		{Doc: "Pass: the payload", Do: func(v *model.View) { v.Set(regSeen, v.Load(payloads+slot(v))) }},
		{Doc: "copyProven: consumer_pos after the copy; format the record", Do: func(v *model.View) {
			if weak != unproven && skipTaken(v) || formatRecord(v) {
				v.Goto("record")
			}
		}},
	}
	reader := model.Thread{Name: fmt.Sprintf("reader %d", self), Steps: slices.Concat(begin, walk, claimPublish(self, weak))}
	if self == 1 { // the robbed reader; early loads of the others too would multiply the states
		reader.Early = []model.Word{claimWord}
	}
	return reader
}

// claimPublish models Reader.publish.
func claimPublish(self int, weak claimWeakness) []model.Step {
	look, use := lookAtClaim(self, "publish: stolen"), model.Step{Doc: "publish: BeforePublish", Do: useRecords}
	publish := []model.Step{{Label: "publish", Doc: "publish: nothing to publish", Do: func(v *model.View) {
		if v.Reg(regPosition) == v.Reg(regMoved) {
			v.Goto("wait")
		}
	}}}
	if weak != noLookBarrier {
		now := look.Do
		look.Do = func(v *model.View) { v.LoadBarrier(); now(v) }
	}
	switch weak {
	case storePublish:
		publish = append(publish, look, use)
	case useUnlooked:
		publish = append(publish, use, look)
	default:
		publish = append(publish, look, use, lookAtClaim(self, "publish: stolen again"))
	}
	return append(publish, model.Step{Label: "move", Doc: "publish: MoveConsumerPos", Do: func(v *model.View) {
		movePos(v, self, weak)
	}})
}

// lookAtClaim ends the thread of Reader self if it was robbed.
func lookAtClaim(self int, doc string) model.Step {
	return model.Step{Doc: doc, Do: func(v *model.View) {
		if v.Acquire(claimWord) != self {
			v.Stop()
		}
	}}
}

// skipTaken models Reader.skipTo to consumer_pos. It reports whether it skipped records.
func skipTaken(v *model.View) bool {
	if v.Reg(regAlone) == 1 {
		return false
	}
	v.LoadBarrier() // Data.Read makes the copy: its loads are acquires
	pos := v.Acquire(consumerPos)
	if pos <= v.Reg(regPosition) {
		return false
	}
	v.Set(regPosition, pos)
	return true
}

// formatRecord adds the record that was read to the batch, and reports whether the batch has room
// for another record.
func formatRecord(v *model.View) bool {
	pos := v.Reg(regPosition)
	v.Set(regPosition, pos+1)
	for i := regBatch; ; i += 2 {
		if v.Reg(i) == 0 {
			v.Set(i, pos+1)
			v.Set(i+1, v.Reg(regSeen))
			v.Set(regSeen, 0)
			return i < regBatch+2*(batch-1)
		}
	}
}

// useRecords writes the batch to the output, and checks each record.
func useRecords(v *model.View) {
	for i := regBatch; i < regBatch+2*batch && v.Reg(i) != 0; i += 2 {
		pos := v.Reg(i) - 1
		if got := v.Reg(i + 1); got != pos+1 {
			v.Fail("record %d was overwritten while it was read: it says %d", pos, got-1)
		}
		if pos > v.Peek(read) {
			v.Fail("record %d was passed over", v.Peek(read))
		}
		v.Poke(read, max(v.Peek(read), pos+1))
		v.Set(i, 0)
		v.Set(i+1, 0)
	}
}

// movePos models Reader.move and Reader.follow.
func movePos(v *model.View, self int, weak claimWeakness) {
	to, old := v.Reg(regPosition), v.Reg(regMoved)
	v.LoadBarrier()            // a failed compare-and-swap is an acquire
	now := v.Peek(consumerPos) // Peek suffices: a locked instruction leaves no store of this thread pending
	if weak == storePublish || weak == storeAfterLook {
		old = now
	}
	switch {
	case now == old:
		if to < now {
			v.Fail("reader %d moves the consumer position back, from %d to %d", self, now, to)
		}
		v.Swap(consumerPos, to)
		v.Set(regMoved, to)
		v.Set(regAlone, 1)
	case weak == ignoreRobbed:
		v.Set(regMoved, to)
	case v.Acquire(claimWord) != self:
		v.Stop()
		return
	case v.Reg(regAlone) == 1:
		v.Fail("reader %d finds the consumer position moved from %d to %d", self, old, now)
	case now >= to:
		v.Set(regMoved, now)
		v.Set(regPosition, now)
	default: // follow tries again
		v.Set(regMoved, now)
		v.Goto("move")
		return
	}
	v.Goto("wait")
}

// allRead is the rule for states in which no thread can take a step: the ring is empty, and all
// records were used.
func allRead(v *model.View) error {
	if produced := v.Peek(producerPos); v.Peek(consumerPos) != produced || v.Peek(read) != produced {
		return errors.New("the ring is not empty at rest")
	}
	return nil
}

func claimModel(order model.Order, weak claimWeakness, readers, records int) model.Result {
	m := model.Model{Words: int(claimWords), Order: order, AtRest: allRead}
	for i := range readers {
		m.Threads = append(m.Threads, claimReader(i+1, weak))
	}
	m.Threads = append(m.Threads, kernelProducer("producer", none, slices.Repeat([]kernelFlags{noWakeup}, records)...))
	return m.Explore()
}

func TestModelOfStealing(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	for _, tt := range []struct {
		readers, records int
		long             bool
	}{{1, 4, false}, {2, 4, false}, {3, 3, true}, {2, 6, true}} {
		for _, order := range []model.Order{model.TSO, model.PSO} {
			if tt.long && (leaveOutLong() || order == model.TSO) { // PSO allows all that TSO does
				continue
			}
			t.Run(fmt.Sprintf("%d readers, %d records, %s", tt.readers, tt.records, order), func(t *testing.T) {
				claimModel(order, whole, tt.readers, tt.records).Check(t, "")
			})
		}
	}
}

func TestModelOfStealingWeakened(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	for _, tt := range []struct {
		rule  string
		weak  claimWeakness
		fails string
	}{
		{"one look before BeforePublish, and a store", storePublish, "moves the consumer position back"},
		{"a second look, and a store", storeAfterLook, "moves the consumer position back"},
		{"a thief that does not prove its copies", unproven, "overwritten while it was read"},
		{"a record used without a look", useUnlooked, "overwritten while it was read"},
		{"a thief that does not follow the robbed reader", ignoreRobbed, "not empty at rest"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			claimModel(model.TSO, tt.weak, 2, 5).Check(t, tt.fails)
		})
	}
}

// On machines that reorder loads, the check of the claim must come after the records were read.
func TestModelOfStealingReordered(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	claimModel(model.Weak, whole, 2, 4).Check(t, "")
	claimModel(model.Weak, noLookBarrier, 2, 4).Check(t, "overwritten while it was read")
}
