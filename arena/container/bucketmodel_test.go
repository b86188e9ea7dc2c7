package container

import (
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// The words of a model of a bucket with one key. A writer replaces the key's value several times and uses
// two nodes in turn. A reader must never accept a torn value. The bucket's word is tag*bucketTag +
// reference.
const (
	bucketWord  model.Word = iota
	bucketNode             // first of three nodes of two words: two of the writer, one of the updater
	bucketWords = bucketNode + 6
)

const bucketTag = 4

type bucketWeakness int

const (
	bucketWhole  bucketWeakness = iota
	lookOnce                    // the reader does not load the bucket again
	noTag                       // changes do not increment the tag
	plainPublish                // the writer stores the bucket's word without a barrier
	lookTooEarly                // the reader loads the bucket again before it has read both halves
	callFirst                   // Update calls back before it loads the bucket again
	noFence                     // the second load of the bucket may be made before the value is read
)

// bucketEarly are the words that a reader may load early on a machine that reorders loads.
var bucketEarly = []model.Word{bucketWord, bucketNode, bucketNode + 1, bucketNode + 2, bucketNode + 3}

func bucketWriter(weak bucketWeakness, rounds int) model.Thread {
	const regRound = 0
	at := func(v *model.View) model.Word { return bucketNode + model.Word(v.Reg(regRound)%2*2) }
	return model.Thread{Name: "writer", Steps: []model.Step{
		{Label: "fill", Doc: "first half", Do: func(v *model.View) { v.Store(at(v), v.Reg(regRound)+1) }},
		{Doc: "second half", Do: func(v *model.View) { v.Store(at(v)+1, v.Reg(regRound)+1) }},
		{Doc: "exchange of the bucket", Do: func(v *model.View) {
			word := v.Reg(regRound)%2 + 1
			if weak != noTag {
				word += bucketTag * (v.Reg(regRound) + 1)
			}
			if weak == plainPublish {
				v.Store(bucketWord, word)
			} else {
				v.Swap(bucketWord, word)
			}
			v.Set(regRound, v.Reg(regRound)+1)
			if v.Reg(regRound) < rounds {
				v.Goto("fill")
			}
		}},
	}}
}

func bucketReader(weak bucketWeakness) model.Thread {
	const (
		regHead = iota
		regFirst
		regSecond
	)
	at := func(v *model.View) model.Word { return bucketNode + model.Word(v.Reg(regHead)%bucketTag-1)*2 }
	check := func(v *model.View) {
		if v.Reg(regFirst) != v.Reg(regSecond) {
			v.Fail("torn value: %d and %d", v.Reg(regFirst), v.Reg(regSecond))
		}
	}
	again := func(v *model.View) {
		if weak != noFence {
			v.LoadBarrier() // order.LoadFence, arena_load_barrier
		}
		if weak != lookOnce && v.Acquire(bucketWord) != v.Reg(regHead) {
			v.Goto("look")
		}
	}
	steps := []model.Step{
		{
			Label: "look", Doc: "the bucket",
			When: func(v *model.View) bool { return v.Peek(bucketWord) != 0 },
			Do: func(v *model.View) { // for programs, the addresses of the node's words depend on it
				if v.Set(regHead, v.Acquire(bucketWord)); v.Reg(regHead) == 0 {
					v.Goto("look")
				}
			},
		},
		{Doc: "first half", Do: func(v *model.View) { v.Set(regFirst, v.Load(at(v))) }},
		{Doc: "the bucket again", Do: again},
		{Doc: "second half", Do: func(v *model.View) { v.Set(regSecond, v.Load(at(v)+1)) }},
		{Doc: "the bucket again", Do: again},
		{Doc: "use it", Do: check},
	}
	if weak == lookTooEarly {
		steps = append(steps[:4:4], steps[5])
	} else {
		steps = append(steps[:2:2], steps[3:]...)
	}
	return model.Thread{Name: "reader", Steps: steps, Early: bucketEarly}
}

// bucketUpdater calls its callback with the old value and stores the result once. The callback must never
// get a torn value, even if the compare-and-swap fails later. The updater has its own node.
func bucketUpdater(weak bucketWeakness) model.Thread {
	const (
		regHead = iota
		regFirst
		regSecond
	)
	at := func(v *model.View) model.Word { return bucketNode + model.Word(v.Reg(regHead)%bucketTag-1)*2 }
	again := func(v *model.View) {
		if weak != noFence {
			v.LoadBarrier()
		}
		if v.Acquire(bucketWord) != v.Reg(regHead) {
			v.Goto("look")
		}
	}
	call := func(v *model.View) {
		if v.Reg(regFirst) != v.Reg(regSecond) {
			v.Fail("called back with a torn value: %d and %d", v.Reg(regFirst), v.Reg(regSecond))
		}
	}
	steps := []model.Step{
		{
			Label: "look", Doc: "the bucket",
			When: func(v *model.View) bool { return v.Peek(bucketWord) != 0 },
			Do: func(v *model.View) {
				if v.Set(regHead, v.Acquire(bucketWord)); v.Reg(regHead) == 0 {
					v.Goto("look")
				}
			},
		},
		{Doc: "first half", Do: func(v *model.View) { v.Set(regFirst, v.Load(at(v))) }},
		{Doc: "second half", Do: func(v *model.View) { v.Set(regSecond, v.Load(at(v)+1)) }},
		{Doc: "the bucket again", Do: again},
		{Doc: "call back", Do: call},
		{Doc: "first half of the new node", Do: func(v *model.View) { v.Store(bucketNode+4, v.Reg(regFirst)) }},
		{Doc: "second half", Do: func(v *model.View) { v.Store(bucketNode+5, v.Reg(regSecond)) }},
		{Doc: "exchange of the bucket", Do: func(v *model.View) {
			word := v.Reg(regHead)/bucketTag*bucketTag + bucketTag + 3
			if !v.CompareAndSwap(bucketWord, v.Reg(regHead), word) {
				v.Goto("look")
				return
			}
			v.Stop()
		}},
	}
	if weak == callFirst { // only the exchange checks whether the bucket was changed
		steps = append(steps[:3:3], steps[4:]...)
	}
	return model.Thread{Name: "updater", Steps: steps, Early: bucketEarly}
}

func TestModelOfUpdate(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	for _, tt := range []struct {
		rule  string
		order model.Order
		weak  bucketWeakness
		fails string
	}{
		{"Update calls back with whole values", model.TSO, bucketWhole, ""},
		{"the same if plain stores become visible in any order", model.PSO, bucketWhole, ""},
		{"the same if loads are made in any order too", model.Weak, bucketWhole, ""},
		{"weakened: no barrier before the second load of the bucket", model.Weak, noFence, "called back with a torn value"},
		{"weakened: it calls back before it loads the bucket again", model.TSO, callFirst, "called back with a torn value"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := model.Model{Words: int(bucketWords), Order: tt.order, Threads: []model.Thread{bucketUpdater(tt.weak)}}
			if tt.order == model.Weak { // early loads multiply the states
				m.Threads = append(m.Threads, bucketWriter(bucketWhole, 3))
			} else {
				m.Threads = append(m.Threads, bucketWriter(bucketWhole, 4), bucketReader(bucketWhole))
			}
			m.Explore().Check(t, tt.fails)
		})
	}
}

func TestModelOfBucket(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	explore := func(order model.Order, weak bucketWeakness) model.Result {
		rounds := 5
		if weak == plainPublish {
			rounds = 2 // more rounds have more pending stores than a model allows
		}
		m := model.Model{Words: int(bucketWords), Order: order, Threads: []model.Thread{bucketWriter(weak, rounds), bucketReader(weak)}}
		if order != model.Weak { // early loads multiply the states
			m.Threads = append(m.Threads, bucketReader(weak))
		}
		return m.Explore()
	}
	for _, tt := range []struct {
		rule  string
		order model.Order
		weak  bucketWeakness
		fails string
	}{
		{"a value is whole", model.TSO, bucketWhole, ""},
		{"the same if plain stores become visible in any order", model.PSO, bucketWhole, ""},
		{"the same if loads are made in any order too", model.Weak, bucketWhole, ""},
		{"weakened: no barrier before the second load of the bucket", model.Weak, noFence, "torn value"},
		{"weakened: the reader loads the bucket once", model.TSO, lookOnce, "torn value"},
		{"weakened: it loads the bucket again too early", model.TSO, lookTooEarly, "torn value"},
		{"weakened: there is no tag", model.TSO, noTag, "torn value"},
		{"weakened: the node is published without a barrier", model.PSO, plainPublish, "torn value"},
	} {
		t.Run(tt.rule, func(t *testing.T) { explore(tt.order, tt.weak).Check(t, tt.fails) })
	}
}
