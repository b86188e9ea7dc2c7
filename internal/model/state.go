package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"unsafe"
)

// Bounds of a model. They give a state a fixed size, which makes it cheap to copy.
const (
	maxWords   = 16
	maxThreads = 6
	maxStores  = 6 // of a thread, not yet visible
	registers  = 9 // of a thread
	// maxStates stops a model that counts without bound. It is far more than any model here has.
	maxStates = 20_000_000
)

// state is everything that the future depends on. It has no padding, and unused parts are zero.
type state struct {
	mem     [maxWords]int8
	threads [maxThreads]threadState
}

type threadState struct {
	pc   int8 // of the next step; the number of steps if the thread has ended
	regs [registers]int8
	// stores are those not yet visible to others, oldest first.
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

// mayFlush reports whether store i of thread t can become visible next.
func (s *state) mayFlush(order Order, t, i int) bool {
	stores := s.threads[t].stores[:i+1]
	if order == TSO || stores[i].release {
		return i == 0
	}
	return !slices.ContainsFunc(stores[:i], func(e store) bool { return e.word == stores[i].word })
}

// sum is a state's fingerprint. Its 128 bits make collisions among millions of states unlikely.
type sum [2]uint64

// explorer visits the states of a model.
type explorer struct {
	model  Model
	labels []map[string]int
	seeds  [2]maphash.Seed
	seen   map[sum]struct{}
	queue  []visit
	// next and view are a step's scratch space; used are states whose memory can be reused.
	next state
	view View
	used []*state
}

// visit is a state and how it was reached.
type visit struct {
	state *state // nil once its successors are known
	from  int32
	// by is the step of the thread, or flushed for a store of the thread that became visible.
	thread, by int8
	done       store
}

// sum returns the fingerprint of s. It ignores threads that the model does not have.
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

// forget releases the state of the visit; the trace needs only the rest.
func (e *explorer) forget(v *visit) {
	e.used = append(e.used, v.state)
	v.state = nil
}

// viewOf returns what thread t sees of the state, until the next call.
func (e *explorer) viewOf(s *state, t int) *View {
	e.view = View{s: s, t: t, labels: e.labels[t], steps: len(e.model.Threads[t].Steps)}
	return &e.view
}

const flushed = -1 // visit.by for a store that became visible

// expand adds the successors of the i-th visited state. If a step breaks a rule, it returns the
// error and that step.
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
