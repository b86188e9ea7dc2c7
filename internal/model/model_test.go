package model

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Words of the litmus tests: x and y are shared memory, ra and rb the results of the two threads.
const x, y, ra, rb = Word(0), Word(1), Word(2), Word(3)

var errWeak = errors.New("weak outcome")

// storeThenLoad stores to its own word and then loads the word of the other thread.
func storeThenLoad(name string, own, other, result Word, barrier bool) Thread {
	return Thread{Name: name, Steps: []Step{
		{Doc: "store", Do: func(v *View) {
			if barrier {
				v.Swap(own, 1)
			} else {
				v.Store(own, 1)
			}
		}},
		{Doc: "load", Do: func(v *View) { v.Poke(result, 1+v.Load(other)) }},
	}}
}

// bothMissed fails if neither thread saw the store of the other.
func bothMissed(v *View) error {
	if v.Peek(ra) == 1 && v.Peek(rb) == 1 {
		return errWeak
	}
	return nil
}

// message returns a thread that stores data and then, with publish, a flag, and a thread that reads
// both.
func message(publish func(v *View, w Word, value int)) []Thread {
	return messageTo(publish, (*View).Load)
}

// messageTo is message with a load of the flag.
func messageTo(publish func(v *View, w Word, value int), load func(v *View, w Word) int) []Thread {
	return []Thread{
		{Name: "writer", Steps: []Step{
			{Doc: "data", Do: func(v *View) { v.Store(x, 1) }},
			{Doc: "flag", Do: func(v *View) { publish(v, y, 1) }},
		}},
		{Name: "reader", Early: []Word{x, y}, Steps: []Step{
			{Doc: "flag", Do: func(v *View) {
				if load(v, y) == 0 {
					v.Stop()
				}
			}},
			{Doc: "data", Do: func(v *View) {
				if v.Load(x) == 0 {
					v.Fail("%w", errWeak)
				}
			}},
		}},
	}
}

var orderTests = []struct {
	rule    string
	threads []Thread
	atRest  func(v *View) error
	weak    map[Order]bool // whether the outcome is possible
}{
	{
		"a load comes before the store that precedes it",
		[]Thread{storeThenLoad("a", x, y, ra, false), storeThenLoad("b", y, x, rb, false)},
		bothMissed, map[Order]bool{TSO: true, PSO: true},
	},
	{
		"not where the store is a full barrier",
		[]Thread{storeThenLoad("a", x, y, ra, true), storeThenLoad("b", y, x, rb, true)},
		bothMissed, map[Order]bool{TSO: false, PSO: false},
	},
	{
		"both must be",
		[]Thread{storeThenLoad("a", x, y, ra, true), storeThenLoad("b", y, x, rb, false)},
		bothMissed, map[Order]bool{TSO: true, PSO: true},
	},
	{
		"plain stores pass each other on weak machines",
		message((*View).Store), nil, map[Order]bool{TSO: false, PSO: true},
	},
	{
		"a release waits for what precedes it",
		message((*View).Release), nil, map[Order]bool{TSO: false, PSO: false, Weak: true},
	},
	{
		"and an acquire holds back what follows",
		messageTo((*View).Release, (*View).Acquire), nil, map[Order]bool{TSO: false, PSO: false, Weak: false},
	},
	{
		"as a barrier does",
		messageTo((*View).Release, func(v *View, w Word) int {
			flag := v.Load(w)
			v.LoadBarrier()
			return flag
		}), nil, map[Order]bool{Weak: false},
	},
	{
		"a full barrier of the writer is no acquire",
		message(func(v *View, w Word, value int) { v.Swap(w, value) }), nil, map[Order]bool{Weak: true},
	},
	{
		"a barrier too",
		message(func(v *View, w Word, value int) { v.Swap(w, value) }), nil, map[Order]bool{TSO: false, PSO: false},
	},
	{
		"a thread sees its own stores at once",
		[]Thread{{Name: "a", Steps: []Step{
			{Doc: "x = 1", Do: func(v *View) { v.Store(x, 1) }},
			{Doc: "x = 2", Do: func(v *View) { v.Store(x, 2) }},
			{Doc: "x?", Do: func(v *View) {
				if v.Load(x) != 2 {
					v.Fail("%w", errWeak)
				}
			}},
		}}},
		func(v *View) error {
			if v.Peek(x) != 2 {
				return errWeak
			}
			return nil
		}, map[Order]bool{TSO: false, PSO: false},
	},
}

// The classic litmus tests show which outcomes each order allows. If an order forbade too much, the
// models would prove too much.
func TestOrders(t *testing.T) {
	for _, tt := range orderTests {
		for order, weak := range tt.weak {
			t.Run(tt.rule+" "+order.String(), func(t *testing.T) {
				res := Model{Words: 4, Order: order, Threads: tt.threads, AtRest: tt.atRest}.Explore()
				if got := errors.Is(res.Err, errWeak); got != weak {
					t.Errorf("%d states, found: %t, want %t (%v)\n%s", res.States, got, weak, res.Err, strings.Join(res.Trace, "\n"))
				}
			})
		}
	}
}

func TestTraceIsAShortestOne(t *testing.T) {
	count := Thread{Name: "count", Steps: []Step{
		{Label: "again", Doc: "x + 1", Do: func(v *View) {
			if v.Add(x, 1) < 5 {
				v.Goto("again")
			}
		}},
	}}
	watch := Thread{Name: "watch", Steps: []Step{
		{Doc: "x is 2", When: func(v *View) bool { return v.Peek(x) == 2 }, Do: func(v *View) { v.Fail("it is") }},
	}}
	res := Model{Words: 1, Threads: []Thread{count, watch}}.Explore()
	want := []string{"count: x + 1", "count: x + 1", "watch: x is 2"}
	if diff := cmp.Diff(want, res.Trace); diff != "" || res.Err == nil {
		t.Errorf("%v, trace (-want +got):\n%s", res.Err, diff)
	}
}
