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
	maxStores  = 8  // stores of a thread that are not visible yet
	maxEarly   = 2  // loads of a thread that were made early
	registers  = 12 // registers of a thread
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
	// loads are the loads that were made early, oldest first.
	loads [maxEarly]store
	ahead int8
}

// early returns the value and the index of an early load of w, or a negative index.
func (th *threadState) early(w Word) (value, index int) {
	for i := range th.ahead {
		if th.loads[i].word == int8(w) {
			return int(th.loads[i].value), int(i)
		}
	}
	return 0, -1
}

// forget removes the early loads from index i up to end.
func (th *threadState) forget(i, end int) {
	n := copy(th.loads[i:], th.loads[end:th.ahead]) + i
	clear(th.loads[n:])
	th.ahead = int8(n)
}

// mayLoad reports whether a thread may load w early.
func (s *state) mayLoad(t int, w Word) bool {
	th := &s.threads[t]
	_, known := th.early(w)
	return th.ahead < maxEarly && known < 0 &&
		!slices.ContainsFunc(th.stores[:th.count], func(e store) bool { return e.word == int8(w) })
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
	// by is the index of the step that thread made, flushed or loaded.
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

// Values of visit.by that are no index of a step.
const (
	flushed = -1 // a store became visible
	loaded  = -2 // a load was made early
)

// addEarly adds the states that follow early loads of thread t.
func (e *explorer) addEarly(i int, s *state, t int) {
	if e.model.Order != Weak {
		return
	}
	for _, w := range e.model.Threads[t].Early {
		if !s.mayLoad(t, w) {
			continue
		}
		e.next = *s
		th := &e.next.threads[t]
		done := store{word: int8(w), value: s.mem[w]}
		th.loads[th.ahead] = done
		th.ahead++
		e.add(&e.next, visit{from: int32(i), thread: int8(t), by: loaded, done: done})
	}
}

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
		e.addEarly(i, s, t)
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
		switch v.by {
		case flushed:
			steps = append(steps, fmt.Sprintf("%s: its store of %d to word %d becomes visible", thread.Name, v.done.value, v.done.word))
		case loaded:
			steps = append(steps, fmt.Sprintf("%s: early load of %d from word %d", thread.Name, v.done.value, v.done.word))
		default:
			steps = append(steps, thread.Name+": "+thread.Steps[v.by].Doc)
		}
	}
	slices.Reverse(steps)
	return steps
}
