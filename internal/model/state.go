package model

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
)

// Bounds of a model. They keep a state of fixed size, and so cheap to copy.
const (
	maxWords   = 16
	maxThreads = 6
	maxStores  = 6 // of a thread that are not visible yet
	registers  = 9 // of a thread
	// maxStates is far above what the models here have: one that counts
	// without bound ends there.
	maxStates = 20_000_000
)

// state is all that the future depends on.
type state struct {
	mem     [maxWords]int8
	threads [maxThreads]threadState
}

type threadState struct {
	pc   int8 // of the next step; the number of steps when it has ended
	regs [registers]int8
	// stores are those that others do not see yet, oldest first.
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

// mayFlush tells whether store i of thread t can become visible next.
func (s *state) mayFlush(order Order, t, i int) bool {
	stores := s.threads[t].stores[:i+1]
	if order == TSO || stores[i].release {
		return i == 0
	}
	return !slices.ContainsFunc(stores[:i], func(e store) bool { return e.word == stores[i].word })
}

// sum is a state's fingerprint: 128 bits, so that no two of some millions are equal.
type sum [2]uint64

// explorer goes through the states of a model.
type explorer struct {
	model  Model
	labels []map[string]int
	seeds  [2]maphash.Seed
	seen   map[sum]struct{}
	queue  []visit
	bytes  []byte
}

// visit is a state and how it was reached.
type visit struct {
	state *state // nil when its successors are known
	from  int32
	// by is the step, or the store when it is negative, of the thread.
	thread, by int8
	done       store
}

func (e *explorer) sum(s *state) sum {
	b := e.bytes[:0]
	for _, v := range s.mem {
		b = append(b, byte(v))
	}
	for i := range e.model.Threads {
		t := &s.threads[i]
		b = append(b, byte(t.pc), byte(t.count))
		for _, v := range t.regs {
			b = append(b, byte(v))
		}
		for _, st := range t.stores[:t.count] {
			b = append(b, byte(st.word), byte(st.value))
			if st.release {
				b = append(b, 1)
			}
		}
		b = binary.NativeEndian.AppendUint16(b, 0xffff)
	}
	e.bytes = b
	return sum{maphash.Bytes(e.seeds[0], b), maphash.Bytes(e.seeds[1], b)}
}

func (e *explorer) add(s *state, v visit) {
	k := e.sum(s)
	if _, known := e.seen[k]; known {
		return
	}
	e.seen[k] = struct{}{}
	v.state = new(*s)
	e.queue = append(e.queue, v)
}

const flushed = -1 // visit.by for a store that became visible

// expand adds the states that follow the one visited i-th. When a step breaks a rule it
// returns the error and that step.
func (e *explorer) expand(i int) (last visit, err error) {
	s := e.queue[i].state
	rest := true
	for t, thread := range e.model.Threads {
		for n := range int(s.threads[t].count) {
			if s.mayFlush(e.model.Order, t, n) {
				rest = false
				next := *s
				done := next.flush(t, n)
				e.add(&next, visit{from: int32(i), thread: int8(t), by: flushed, done: done})
			}
		}
		pc := s.threads[t].pc
		if int(pc) == len(thread.Steps) {
			continue
		}
		step := thread.Steps[pc]
		if step.When != nil && !step.When(&View{s: s, t: t}) {
			continue
		}
		rest = false
		next := *s
		v := View{s: &next, t: t, labels: e.labels[t], steps: len(thread.Steps)}
		next.threads[t].pc++
		step.Do(&v)
		how := visit{from: int32(i), thread: int8(t), by: pc}
		if v.err != nil {
			return how, v.err
		}
		e.add(&next, how)
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
