package consumer

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A model of reading a ring in overwrite mode, with records of several sizes that fill the ring, on
// machines that keep stores in order and on others. Rules: no record is torn, no record is handed out
// before it is committed, reading resumes where a record begins, and a Reader does not sleep with a
// record to read.

// overwriteWeakness is a part of the protocol that a test leaves out to show that the part is
// necessary.
type overwriteWeakness int

const (
	payloadFirst  overwriteWeakness = iota + 1 // the copy loads the last word first
	noProof                                    // overwrite_pos is not loaded after the copy
	overFirst                                  // overwrite_pos is loaded before producer_pos
	waitsOnBehind                              // Reader.ready checks the header of the oldest intact record without publishing its position, so the kernel does not wake the Reader for it
	busyUnproven                               // Reader.ready believes a BUSY bit without a proof
	unsettled                                  // the proof does not wait until producer_pos moves on, nor for membarrier
	settledOnce                                // the first producer_pos after the copy is taken for one that has moved on
)

// Registers of the Reader.
const (
	regOverRead      = iota // Reader.pos
	regOverPublished        // Reader.published
	regOverGoal             // walk.goal
	regOver                 // overwrite_pos as loaded
	regIndex                // words copied so far
	regSettle               // producer_pos when settled began
	regThen                 // what follows settled
	regCopied               // first of the registers with the copy
)

// What follows settled: the label is one of these.
var thens = []string{"proven", "busy peek", "busy wait"}

// overwriteModel is a Reader on a machine with an order of stores.
type overwriteModel struct {
	order model.Order
	weak  overwriteWeakness
}

// reader models a goroutine in Reader.Records.
func (m overwriteModel) reader() model.Thread {
	return model.Thread{Name: "reader", Steps: slices.Concat(
		m.look("wait", "nothing"),
		[]model.Step{{Label: "nothing", Doc: "sleep: RawRead: runtime_pollReset", Do: func(v *model.View) { v.Poke(overReady, 0) }}},
		m.look("peek", "park"),
		[]model.Step{{
			Label: "park", Doc: "sleep: runtime_pollWait: until pdReady, which it takes",
			When: func(v *model.View) bool { return v.Peek(overReady) == 1 },
			Do:   func(v *model.View) { v.Poke(overReady, 0); v.Goto("peek") },
		}},
		m.begin(), m.refill(), m.settled(),
	)}
}

// look models Reader.ready. It goes to the label nothing if there is nothing to read.
func (m overwriteModel) look(label, nothing string) []model.Step {
	return []model.Step{
		{Label: label, Doc: "ready: producer_pos", Do: func(v *model.View) { v.Set(regOverGoal, v.Load(overProducer)) }},
		{Doc: "ready: overwrite_pos", Do: func(v *model.View) {
			v.Set(regOver, v.Load(overOverwrite))
			switch behind := v.Reg(regOver) > v.Reg(regOverRead); {
			case behind && m.weak != waitsOnBehind:
				v.Goto("pass")
			case !behind && v.Reg(regOverGoal) == v.Reg(regOverRead):
				v.Goto(nothing)
			}
		}},
		{Doc: "ready: the header", Do: func(v *model.View) {
			word := v.Load(cellAt(max(v.Reg(regOverRead), v.Reg(regOver))))
			switch {
			case !looksBusy(word):
				v.Goto("pass")
			case m.weak == busyUnproven:
				v.Goto(nothing)
			default:
				v.Set(regThen, slices.Index(thens, "busy "+label))
				v.Goto("settle")
			}
		}},
		{Label: "busy " + label, Doc: "ready: overwrite_pos again", Do: func(v *model.View) {
			if v.Load(overOverwrite) > max(v.Reg(regOverRead), v.Reg(regOver)) {
				v.Goto("pass")
			} else {
				v.Goto(nothing)
			}
		}},
	}
}

// begin starts a pass.
func (m overwriteModel) begin() []model.Step {
	begin := []model.Step{
		{Label: "pass", Doc: "Pass: begin: producer_pos", Do: func(v *model.View) { v.Set(regOverGoal, v.Load(overProducer)) }},
		{Doc: "refill: overwrite_pos", Do: func(v *model.View) { v.Set(regOver, v.Load(overOverwrite)) }},
	}
	if m.weak == overFirst {
		begin[0].Label, begin[1].Label = "", "pass"
		slices.Reverse(begin)
	}
	return begin
}

// refill copies the records of the pass, proves them and hands them out.
func (m overwriteModel) refill() []model.Step {
	return []model.Step{
		{Doc: "refill: skipTo", Do: func(v *model.View) {
			v.Set(regOverRead, max(v.Reg(regOverRead), v.Reg(regOver)))
			v.Set(regOver, 0)
			switch n := v.Reg(regOverGoal) - v.Reg(regOverRead); {
			case n <= 0:
				v.Goto("end")
			case n > ringWords-1:
				v.Fail("%d words in a ring for %d", n, ringWords-1)
			}
		}},
		{Label: "copy", Doc: "refill: Data.Read: a word", Do: func(v *model.View) {
			n, i := v.Reg(regOverGoal)-v.Reg(regOverRead), v.Reg(regIndex)
			if m.weak == payloadFirst {
				i = n - 1 - i
			}
			v.Set(regCopied+i, v.Load(cellAt(v.Reg(regOverRead)+i)))
			if v.Set(regIndex, v.Reg(regIndex)+1); v.Reg(regIndex) < n {
				v.Goto("copy")
				return
			}
			v.Set(regThen, slices.Index(thens, "proven"))
			v.Goto("settle")
		}},
		{Label: "proven", Doc: "refill: overwrite_pos again; skipTo; hand out what is proven", Do: func(v *model.View) {
			m.handOut(v, v.Load(overOverwrite))
		}},
		{Label: "end", Doc: "Pass: end: publish", Do: func(v *model.View) {
			for r := regIndex; r < regCopied+ringWords; r++ {
				v.Set(r, 0) // clear unused registers: they would multiply the states
			}
			v.Poke(overRead, v.Reg(regOverRead))
			if v.Reg(regOverRead) != v.Reg(regOverPublished) {
				v.Swap(overConsumer, v.Reg(regOverRead))
				v.Set(regOverPublished, v.Reg(regOverRead))
			}
			v.Goto("wait")
		}},
	}
}

// handOut hands out the records of the copy from over on.
func (m overwriteModel) handOut(v *model.View, over int) {
	from, pos, goal := v.Reg(regOverRead), v.Reg(regOverRead), v.Reg(regOverGoal)
	if m.weak != noProof {
		pos = max(pos, over)
	}
	for pos < goal {
		header := v.Reg(regCopied + pos - from)
		switch {
		case isPayload(header) || header%headerStates == headerEmpty || pos+spanOf(header) > goal:
			v.Fail("the header at %d is torn: %d", pos, header)
			return
		case header%headerStates == headerBusy:
			v.Set(regOverRead, pos)
			return
		}
		for i := pos + 1; i < pos+spanOf(header); i++ {
			if got := v.Reg(regCopied + i - from); got != payloadWord+i {
				v.Fail("the record at %d is torn: the word at %d is %d", pos, i, got)
				return
			}
		}
		pos += spanOf(header)
	}
	v.Set(regOverRead, pos)
}

// settled models the function settled. Its loads of producer_pos until one differs are a step that may be
// made if producer_pos differs.
func (m overwriteModel) settled() []model.Step {
	proceed := func(v *model.View) { v.Set(regSettle, 0); v.Goto(thens[v.Reg(regThen)]) }
	ordered := m.order == model.TSO || m.weak == unsettled
	return []model.Step{
		{Label: "settle", Doc: "settled: producer_pos", Do: func(v *model.View) {
			v.Set(regSettle, v.Load(overProducer))
			if ordered || m.weak == settledOnce && v.Reg(regSettle) != v.Reg(regOverGoal) {
				proceed(v)
			}
		}},
		{Doc: "settled: producer_pos again; otherwise membarrier", Do: func(v *model.View) {
			if v.Load(overProducer) == v.Reg(regSettle) {
				v.Settle()
			}
			proceed(v)
		}},
	}
}

// overAsleep is the rule for states in which no thread can take a step.
func overAsleep(v *model.View) error {
	pos := max(v.Peek(overRead), v.Peek(overOverwrite))
	if pos == v.Peek(overProducer) || v.Peek(cellAt(pos))%headerStates == headerBusy {
		return nil
	}
	return errors.New("lost wakeup: the reader sleeps with a record to read")
}

func (m overwriteModel) explore(producers ...[]int) model.Result {
	all := model.Model{Words: int(overWordsIn), Order: m.order, Threads: slices.Clone(overwriteWakeup), AtRest: overAsleep}
	all.Threads = append(all.Threads, m.reader())
	for i, sizes := range producers {
		all.Threads = append(all.Threads, overwriteProducer(fmt.Sprintf("producer %d", i), sizes))
	}
	return all.Explore()
}

func TestModelOfOverwriting(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	tests := []struct {
		rule  string
		sizes [][]int // per producer: numbers of payload words of its records
		long  bool    // left out with -short
	}{
		{"a full ring", [][]int{{3, 3}}, false},
		{"records of several sizes", [][]int{{1, 2, 1}}, false},
		{"a large record over small ones", [][]int{{1, 1, 3}}, false},
		{"small records over a large one", [][]int{{3, 1, 1}}, true},
		{"around the ring", [][]int{{1, 2, 1, 3}}, true},
		{"a BUSY record behind which another producer commits", [][]int{{1}, {1, 1}}, true},
		{"a BUSY record that another producer comes to", [][]int{{1}, {2, 1}}, true},
	}
	for _, tt := range tests {
		for _, order := range []model.Order{model.TSO, model.PSO} {
			if tt.long && leaveOutLong() {
				continue
			}
			t.Run(tt.rule+" "+order.String(), func(t *testing.T) {
				overwriteModel{order: order}.explore(tt.sizes...).Check(t, "")
			})
		}
	}
}

func TestModelOfOverwritingWeakened(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	for _, tt := range []struct {
		rule  string
		order model.Order
		weak  overwriteWeakness
		sizes [][]int
		fails string
	}{
		{"the copy begins with the last word", model.TSO, payloadFirst, [][]int{{3, 3}}, "is torn"},
		{"what was copied is not proven", model.TSO, noProof, [][]int{{1, 1, 1}}, "is torn"},
		{"overwrite_pos is loaded before producer_pos", model.TSO, overFirst, [][]int{{1, 1, 1, 1}}, "words in a ring for"},
		{"a wait that does not say where it waits", model.TSO, waitsOnBehind, [][]int{{1}, {1, 1}}, "lost wakeup"},
		{"a BUSY bit that is believed", model.TSO, busyUnproven, [][]int{{3, 3}}, "lost wakeup"},
		{"stores in any order, no settling", model.PSO, unsettled, [][]int{{3, 3}}, "is torn"},
		{"stores in any order, the first position is believed", model.PSO, settledOnce, [][]int{{1, 1, 3}}, "is torn"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			overwriteModel{tt.order, tt.weak}.explore(tt.sizes...).Check(t, tt.fails)
		})
	}
}
