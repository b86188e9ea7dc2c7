package model

import "fmt"

// View is a step's view of the state: its thread's registers, and shared memory as the thread sees
// it.
type View struct {
	s      *state
	t      int
	labels map[string]int
	steps  int // number of steps of the thread
	err    error
}

func (v *View) thread() *threadState { return &v.s.threads[v.t] }

// Reg returns a register of the thread, initially 0.
func (v *View) Reg(i int) int { return int(v.thread().regs[i]) }

// Set sets a register.
func (v *View) Set(i, value int) { v.thread().regs[i] = int8(value) }

// Load is a plain load of a word, as the thread sees it.
func (v *View) Load(w Word) int {
	if value, i := v.thread().early(w); i >= 0 {
		v.thread().forget(i, i+1)
		return value
	}
	return v.load(w)
}

// Acquire is a load before all later loads. Under TSO and PSO it is a Load.
func (v *View) Acquire(w Word) int {
	th := v.thread()
	if value, i := th.early(w); i >= 0 {
		th.forget(0, i+1)
		return value
	}
	v.LoadBarrier()
	return v.load(w)
}

// LoadBarrier makes all later loads after all earlier ones.
func (v *View) LoadBarrier() { v.thread().forget(0, int(v.thread().ahead)) }

// load loads a word now.
func (v *View) load(w Word) int {
	th := v.thread()
	for i := th.count - 1; i >= 0; i-- {
		if th.stores[i].word == int8(w) {
			return int(th.stores[i].value)
		}
	}
	return v.Peek(w)
}

// Store is a plain store.
func (v *View) Store(w Word, value int) { v.buffer(w, value, false) }

// Release is a store that becomes visible after all stores before it.
func (v *View) Release(w Word, value int) { v.buffer(w, value, true) }

func (v *View) buffer(w Word, value int, release bool) {
	th := v.thread()
	if _, i := th.early(w); i >= 0 {
		th.forget(i, i+1) // a load after this store does not see what was there before
	}
	th.stores[th.count] = store{int8(w), int8(value), release}
	th.count++
}

// Swap stores value and returns the old one, atomically and as a full barrier: xchg.
func (v *View) Swap(w Word, value int) (old int) {
	v.Barrier()
	old = v.Peek(w)
	v.Poke(w, value)
	return old
}

// Add adds n and returns the sum, atomically and as a full barrier: lock xadd.
func (v *View) Add(w Word, n int) (sum int) {
	v.Barrier()
	v.Poke(w, v.Peek(w)+n)
	return v.Peek(w)
}

// Or sets bits and returns the old value, atomically and as a full barrier.
func (v *View) Or(w Word, bits int) (old int) {
	old = v.Add(w, 0)
	v.Poke(w, old|bits)
	return old
}

// CompareAndSwap stores value if the word is old, atomically and as a full barrier. It reports
// whether it stored.
func (v *View) CompareAndSwap(w Word, old, value int) bool {
	if v.Add(w, 0) != old {
		return false
	}
	v.Poke(w, value)
	return true
}

// Barrier makes all stores of the thread visible, and all later loads after it.
func (v *View) Barrier() {
	v.LoadBarrier()
	for v.thread().count > 0 {
		v.s.flush(v.t, 0)
	}
}

// Settle is a Barrier of all threads: membarrier(2).
func (v *View) Settle() {
	for t := range v.s.threads {
		th := &v.s.threads[t]
		th.forget(0, int(th.ahead))
		for v.s.threads[t].count > 0 {
			v.s.flush(t, 0)
		}
	}
}

// Peek returns the word in memory. It is not an access of the thread: use it in When, in rules, and
// for words that do not model memory.
func (v *View) Peek(w Word) int { return int(v.s.mem[w]) }

// Poke changes the word in memory. Like Peek, it is not an access of the thread.
func (v *View) Poke(w Word, value int) { v.s.mem[w] = int8(value) }

// Goto makes the labelled step the thread's next one.
func (v *View) Goto(label string) {
	pc, known := v.labels[label]
	if !known {
		panic(fmt.Sprintf("no step is labelled %q", label))
	}
	v.thread().pc = int8(pc)
}

// Stop ends the thread.
func (v *View) Stop() { v.thread().pc = int8(v.steps) }

// Fail reports a broken rule.
func (v *View) Fail(format string, args ...any) { v.err = fmt.Errorf(format, args...) }
