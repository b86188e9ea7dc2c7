package model

import (
	"errors"
	"testing"
)

var errLostWakeup = errors.New("the consumer sleeps, and there is a record")

// Words of shared memory. A header is 0 before its first use, like the header of a committed record
// of 0 bytes.
const (
	header Word = iota
	producerPos
	consumerPos
	payload
	woken
)
const busy, committed, right = 2, 1, 7

type access func(v *View, w Word, value int)

var (
	plain   access = (*View).Store
	release access = (*View).Release
	xchg    access = func(v *View, w Word, value int) { v.Swap(w, value) }
)

func write(how access, w Word, value int) Step {
	return Step{Doc: "store", Do: func(v *View) { how(v, w, value) }}
}

// take models a consumer that reads the record if producer_pos is beyond it.
var take = []Step{
	{Doc: "load producer_pos: nothing there", Do: func(v *View) {
		if v.Load(producerPos) == 0 {
			v.Stop()
		}
	}},
	{Doc: "load header: busy", Do: func(v *View) {
		if v.Load(header) == busy {
			v.Stop()
		}
	}},
	{Doc: "load payload", Do: func(v *View) {
		if v.Load(payload) != right {
			v.Fail("payload read before it was written")
		}
	}},
}

// reserved models reserve and commit in the kernel. It also models a producer in user space that
// fills its sample after publishing the sample.
func reserved(publish, commit access) []Step {
	return []Step{
		write(plain, header, busy), write(publish, producerPos, 1),
		write(plain, payload, right), write(commit, header, committed),
	}
}

// complete models the producer of a batch. A sample is complete before it is published, and is
// never busy.
func complete(publish access) []Step {
	return []Step{write(plain, payload, right), write(plain, header, committed), write(publish, producerPos, 1)}
}

// committer models a commit, which checks for a sleeping consumer. sleeper models a consumer, which
// checks for a record before it sleeps. The header is initially busy.
func committer(commit access) []Step {
	return []Step{
		write(commit, header, committed),
		{Doc: "load consumer_pos: wake", Do: func(v *View) {
			if v.Load(consumerPos) == 1 {
				v.Poke(woken, 1)
			}
		}},
	}
}

func sleeper(publish access) []Step {
	return []Step{
		write(publish, consumerPos, 1),
		{Doc: "load header: committed, no sleep", Do: func(v *View) {
			if v.Load(header) == committed {
				v.Poke(woken, 1)
			}
		}},
		{Doc: "sleep", When: func(v *View) bool { return v.Peek(woken) == 1 }, Do: func(*View) {}},
	}
}

// asleep is the rule that the consumer does not sleep while there is a record to read.
func asleep(v *View) error {
	if v.Peek(woken) == 0 && v.Peek(header) == committed && v.Peek(consumerPos) == 1 {
		return errLostWakeup
	}
	return nil
}

var litmusTests = []struct {
	rule         string
	a, b         []Step
	atRest       func(*View) error
	onTSO, onPSO bool // whether a rule is broken under the order
}{
	{"reserve, commit, consume", reserved(release, xchg), take, nil, false, false},
	{"commit as a release store", reserved(release, release), take, nil, false, false},
	{"weakened: commit as a plain store", reserved(release, plain), take, nil, false, true},
	{"weakened: reservation published by a plain store", reserved(plain, xchg), take, nil, false, true},
	{"complete, then publish", complete(release), take, nil, false, false},
	{"weakened: published by a plain store", complete(plain), take, nil, false, true},
	{"commit and sleep", committer(xchg), sleeper(xchg), asleep, false, false},
	{"weakened: consumer_pos by a release store", committer(xchg), sleeper(release), asleep, true, true},
	{"weakened: commit by a release store", committer(release), sleeper(xchg), asleep, true, true},
}

// Each test is the smallest program of a protocol between the kernel and a process, with the access
// on which it depends and with a weaker access. The packages that implement the protocols have
// models of the whole protocols; docs/litmus/README.md lists them.
func TestLitmus(t *testing.T) {
	for _, tt := range litmusTests {
		for _, order := range []Order{TSO, PSO} {
			t.Run(tt.rule+" "+order.String(), func(t *testing.T) {
				res := Model{
					Words: 5, Order: order, AtRest: tt.atRest,
					Threads: []Thread{{Name: "a", Steps: tt.a}, {Name: "b", Steps: tt.b}},
				}.Explore()
				wrong := tt.onTSO
				if order == PSO {
					wrong = tt.onPSO
				}
				if got := res.Err != nil; got != wrong {
					t.Errorf("%d states, goes wrong: %t, want %t: %v %v", res.States, got, wrong, res.Err, res.Trace)
				}
			})
		}
	}
}
