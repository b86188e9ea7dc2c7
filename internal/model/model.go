// Package model explores every interleaving of a few abstract threads over shared memory. It is
// used to test the protocols between this module and the kernel: the race detector sees neither
// mapped memory nor the kernel, and a test on the real kernel sees only the orders that happen to
// occur.
//
// A model consists of threads and rules. A thread consists of steps; each step makes one access to
// shared memory. Explore visits all reachable states breadth first, so the trace of a failure is as
// short as possible:
//
//	a := model.Thread{Name: "a", Steps: []model.Step{
//		{Doc: "x = 1", Do: func(v *model.View) { v.Store(x, 1) }},
//		{Doc: "y == 0: enter", Do: func(v *model.View) { if v.Load(y) != 0 { v.Stop() } }},
//		...
//	}}
//	res := model.Model{Words: 2, Order: model.TSO, Threads: []model.Thread{a, b}}.Explore()
package model

import (
	"fmt"
	"hash/maphash"
)

// Order is the order in which stores become visible to other threads, and in which loads are made.
type Order int

const (
	// TSO is the order of x86: the stores of a thread become visible to other threads in program
	// order, but late, so a later load of the thread may happen before its store is visible. The
	// thread itself sees its stores at once.
	TSO Order = iota
	// PSO is weaker: plain stores to different words become visible in any order. A Release
	// becomes visible after all stores before it.
	PSO
	// Weak is weaker still, as arm64: a plain Load of one of the words in Thread.Early may be made
	// before loads that precede it in the program, but not before a preceding Acquire, LoadBarrier
	// or full barrier. An Acquire itself may be made early. The words of Early are few, because
	// each multiplies the states.
	Weak
)

func (o Order) String() string { return [...]string{"TSO", "PSO", "weak"}[o] }

// Word names a word of shared memory.
type Word int

// Thread is the program of one thread.
type Thread struct {
	Name  string
	Steps []Step
	Early []Word // see Weak
}

// Step is one atomic step of a thread: one access to shared memory, and changes of the registers of
// the thread.
type Step struct {
	Label string // for View.Goto
	Doc   string // for the trace
	// When reports whether the step can be made; nil means always. It may call Peek.
	When func(v *View) bool
	// Do makes the step. The next step of the thread follows, unless Do calls Goto or Stop.
	Do func(v *View)
}

// Model is a program and its rules.
type Model struct {
	Words   int // number of words of shared memory; they are 0 initially and must stay small
	Order   Order
	Threads []Thread
	// AtRest is called in states in which no thread can make a step. It returns an error if the
	// state breaks a rule.
	AtRest func(v *View) error
}

// Result is what Explore found.
type Result struct {
	States int
	Err    error    // from View.Fail or Model.AtRest; nil if no rule is broken
	Trace  []string // the steps that led to Err
}

// Explore visits every reachable state, until a rule is broken.
func (m Model) Explore() Result {
	if m.Words > maxWords || len(m.Threads) > maxThreads {
		panic(fmt.Sprintf("%d words, %d threads: more than %d or %d", m.Words, len(m.Threads), maxWords, maxThreads))
	}
	e := explorer{
		model: m, labels: m.labels(),
		seeds: [...]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, seen: map[sum]struct{}{},
	}
	e.add(&state{}, visit{from: -1})
	for i := 0; i < len(e.queue); i++ {
		if last, err := e.expand(i); err != nil {
			return Result{States: len(e.seen), Err: err, Trace: e.trace(last)}
		}
		e.forget(&e.queue[i])
		if len(e.seen) > maxStates {
			return Result{States: len(e.seen), Err: fmt.Errorf("model has more than %d states", maxStates)}
		}
	}
	return Result{States: len(e.seen)}
}

// labels returns the index of the step for each label, per thread.
func (m Model) labels() []map[string]int {
	var all []map[string]int
	for _, t := range m.Threads {
		labels := map[string]int{}
		for i, s := range t.Steps {
			if s.Label != "" {
				labels[s.Label] = i
			}
		}
		all = append(all, labels)
	}
	return all
}
