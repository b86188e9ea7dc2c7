package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"unsafe"
)

// Bounds of a model. With them a state has a fixed size and is cheap to copy.
const (
	maxWords   = 16
	maxThreads = 6
	maxStores  = 6 // stores of a thread that are not visible yet
	registers  = 9 // registers of a thread
	// maxStates stops a model that counts without bound. Every model in this module has far fewer
	// states.
	maxStates = 20_000_000
)

// state is all that determines which states can follow. It has no padding, and unused parts are
// zero, so it can be hashed as bytes.
type state struct {
	mem     [maxWords]int8
	threads [maxThreads]threadState
}

type threadState struct {
	pc   int8 // index of the next step; the number of steps if the thread has ended
	regs [registers]int8
	// stores are the stores that other threads do not see yet, oldest first.
	stores [maxStores]store
	count  int8
}

type store struct {
	word, value int8
	release     bool
}

// flush makes store i of thread t visible.
func (s *state) flush(t, i int) store {
	th := &s.threads[t]
	e := th.stores[i]
	s.mem[e.word] = e.value
	copy(th.stores[i:], th.stores[i+1:])
	th.count--
	th.stores[th.count] = store{}
	return e
}

// mayFlush reports whether store i of thread t may be the next to become visible.
func (s *state) mayFlush(order Order, t, i int) bool {
	stores := s.threads[t].stores[:i+1]
	if order == TSO || stores[i].release {
		return i == 0
	}
	return !slices.ContainsFunc(stores[:i], func(e store) bool { return e.word == stores[i].word })
}

// sum is a hash of a state. With 128 bits, a collision among millions of states is unlikely.
type sum [2]uint64

// explorer visits the states of a model.
type explorer struct {
	model  Model
	labels []map[string]int
	seeds  [2]maphash.Seed
	seen   map[sum]struct{}
	queue  []visit
	// next and view are memory that each step uses again. used are states whose memory can be used
	// again.
	next state
	view View
	used []*state
}

// visit is a visited state and the step that led to it.
type visit struct {
	state *state // nil after its successors were added
	from  int32
	// by is the index of the step that thread made, or flushed if a store of thread became visible.
	thread, by int8
	done       store
}

// sum returns the hash of s, without the threads that the model does not have.
func (e *explorer) sum(s *state) sum {
	size := unsafe.Offsetof(s.threads) + uintptr(len(e.model.Threads))*unsafe.Sizeof(s.threads[0])
	b := unsafe.Slice((*byte)(unsafe.Pointer(s)), size)
	return sum{maphash.Bytes(e.seeds[0], b), maphash.Bytes(e.seeds[1], b)}
}

func (e *explorer) add(s *state, v visit) {
	k := e.sum(s)
	if _, known := e.seen[k]; known {
		return
	}
	e.seen[k] = struct{}{}
	if n := len(e.used); n > 0 {
		v.state, e.used = e.used[n-1], e.used[:n-1]
		*v.state = *s
	} else {
		v.state = new(*s)
	}
	e.queue = append(e.queue, v)
}

// forget releases the memory of the state of the visit. The trace needs only the rest of the visit.
func (e *explorer) forget(v *visit) {
	e.used = append(e.used, v.state)
	v.state = nil
}

// viewOf returns the View of thread t on the state. It is valid until the next call.
func (e *explorer) viewOf(s *state, t int) *View {
	e.view = View{s: s, t: t, labels: e.labels[t], steps: len(e.model.Threads[t].Steps)}
	return &e.view
}

const flushed = -1 // visit.by for a store that became visible

// expand adds the successors of the state visited as number i. If a step breaks a rule, expand
// returns the error and that step.
func (e *explorer) expand(i int) (last visit, err error) {
	s := e.queue[i].state
	rest := true
	for t, thread := range e.model.Threads {
		for n := range int(s.threads[t].count) {
			if s.mayFlush(e.model.Order, t, n) {
				rest = false
				e.next = *s
				done := e.next.flush(t, n)
				e.add(&e.next, visit{from: int32(i), thread: int8(t), by: flushed, done: done})
			}
		}
		pc := s.threads[t].pc
		if int(pc) == len(thread.Steps) {
			continue
		}
		step := &thread.Steps[pc]
		if step.When != nil && !step.When(e.viewOf(s, t)) {
			continue
		}
		rest = false
		e.next = *s
		v := e.viewOf(&e.next, t)
		e.next.threads[t].pc++
		step.Do(v)
		how := visit{from: int32(i), thread: int8(t), by: pc}
		if v.err != nil {
			return how, v.err
		}
		e.add(&e.next, how)
	}
	if rest && e.model.AtRest != nil {
		return e.queue[i], e.model.AtRest(&View{s: s})
	}
	return visit{}, nil
}

// trace returns the steps up to last.
func (e *explorer) trace(last visit) []string {
	var steps []string
	for v := last; v.from >= 0; v = e.queue[v.from] {
		thread := e.model.Threads[v.thread]
		if v.by == flushed {
			steps = append(steps, fmt.Sprintf("%s: its store of %d to word %d becomes visible", thread.Name, v.done.value, v.done.word))
		} else {
			steps = append(steps, thread.Name+": "+thread.Steps[v.by].Doc)
		}
	}
	slices.Reverse(steps)
	return steps
}
