package ring

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func leased(t *testing.T) (*Mapping, *Lease) {
	t.Helper()
	size := uint64(os.Getpagesize())
	m, err := Consume(testenv.NewMemory(t, size).FD, size)
	if err != nil {
		t.Fatal(err)
	}
	return m, m.Lease()
}

func TestLease(t *testing.T) {
	type step struct {
		name string
		do   func(*Lease) bool
		want bool
	}
	var (
		enter   = func(want bool) step { return step{"Enter", (*Lease).Enter, want} }
		leave   = func(want bool) step { return step{"Leave", (*Lease).Leave, want} }
		closing = func(want bool) step { return step{"Close", (*Lease).Close, want} }
		acquire = func(want bool) step { return step{"Acquire", func(l *Lease) bool { return l.mem.Acquire() }, want} }
		release = func(want bool) step { return step{"Release", func(l *Lease) bool { return l.mem.Release() }, want} }
	)
	for _, tt := range []struct {
		rule  string
		steps []step
	}{
		{"nobody is inside: Close is last", []step{closing(true), closing(false)}},
		{"nobody is inside any more", []step{enter(true), leave(false), closing(true), enter(false), leave(false)}},
		{"the holder is inside: its Leave is last", []step{enter(true), closing(false), leave(true), enter(false), leave(false)}},
		{"only the outer Leave is", []step{enter(true), enter(true), closing(false), leave(false), leave(true)}},
		{"Close between two holds", []step{enter(true), closing(false), enter(false), leave(false), leave(true)}},
		{"another user of the memory is last", []step{acquire(true), closing(false), enter(false), leave(false), release(true)}},
		{"the holder is last, after another user", []step{enter(true), acquire(true), closing(false), release(false), leave(true)}},
	} {
		for _, fast := range []bool{false, true} {
			m, l := leased(t)
			l.fast = fast
			unmaps := 0
			for i, s := range tt.steps {
				got := s.do(l)
				if got != s.want {
					t.Errorf("%s, fast %t, step %d: %s() = %t, want %t", tt.rule, fast, i, s.name, got, s.want)
				}
				if got && (s.name == "Close" || s.name == "Leave" || s.name == "Release") {
					unmaps++
				}
			}
			if unmaps != 1 {
				t.Errorf("%s: last %d times", tt.rule, unmaps)
			}
			if err := m.Unmap(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A holder that reads and a Close at any moment: the memory is unmapped once, and not while it is read,
// which would be a fault.
func TestLeaseUnderClose(t *testing.T) {
	rounds := 2000
	if testenv.InGuest() {
		rounds = 200
	}
	for i := range rounds {
		for i == rounds/2 && !syscall.Expedited() { // all kernels of the matrix have membarrier
			runtime.Gosched()
		}
		m, l := leased(t)
		var lasts atomic.Int32
		last := func(is bool) {
			if is {
				lasts.Add(1)
				if err := m.Unmap(); err != nil {
					t.Error(err)
				}
			}
		}
		begun, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; l.Enter(); i++ {
				m.ProducerPos()
				last(l.Leave())
				if i == 10 {
					close(begun)
				}
			}
			last(l.Leave())
		}()
		<-begun
		last(l.Close())
		<-done
		if n := lasts.Load(); n != 1 {
			t.Fatalf("unmapped %d times", n)
		}
	}
}

// A model of the Lease: the holder enters and leaves twice, while another thread closes. Rules: the
// memory is mapped while the holder accesses it, and is unmapped once, in the end.
const (
	leaseInside model.Word = iota // Lease.inside
	leaseClosed                   // closedBit
	leaseOver                     // Lease.over
	leaseMapped                   // 0 while the memory is mapped, then the number of calls of Unmap
	leaseReady                    // syscall.Expedited
	leaseWords
)

type leaseWeakness int

const (
	leaseWhole     leaseWeakness = iota
	leaseNoBarrier               // Close calls no membarrier
	leaseNoSwap                  // over is loaded and stored
	leaseNoLook                  // Leave does not look at closedBit
	leaseLateReady               // the holder enters quickly before the registration
)

func unmapOnce(v *model.View) { v.Poke(leaseMapped, v.Peek(leaseMapped)+1) }

// endLease returns the steps of Lease.end, which continue at the label next.
func endLease(name, next string, weak leaseWeakness) []model.Step {
	const regSeen = 3
	goOn := func(v *model.View) { v.Goto(next) }
	if weak == leaseNoSwap {
		return []model.Step{
			{Label: name, Doc: "end: over?", Do: func(v *model.View) { v.Set(regSeen, v.Load(leaseOver)) }},
			{Doc: "end: over = true", Do: func(v *model.View) { v.Swap(leaseOver, 1) }},
			{Doc: "end: unmap", Do: func(v *model.View) {
				if v.Reg(regSeen) == 0 {
					unmapOnce(v)
				}
				goOn(v)
			}},
		}
	}
	return []model.Step{{Label: name, Doc: "end: CompareAndSwap of over, unmap", Do: func(v *model.View) {
		if v.CompareAndSwap(leaseOver, 0, 1) {
			unmapOnce(v)
		}
		goOn(v)
	}}}
}

func leaseHolder(weak leaseWeakness) model.Thread {
	const regTimes, regFast, regClosed = 0, 1, 2
	store := func(v *model.View, value int) {
		if v.Reg(regFast) == 1 {
			v.Release(leaseInside, value)
		} else {
			v.Swap(leaseInside, value)
		}
	}
	steps := []model.Step{
		{Label: "enter", Doc: "Enter: Expedited?", Do: func(v *model.View) {
			if v.Reg(regFast) == 0 {
				v.Set(regFast, v.Acquire(leaseReady))
			}
			if weak == leaseLateReady {
				v.Set(regFast, 1)
			}
		}},
		{Doc: "Enter: inside = 1", Do: func(v *model.View) { store(v, 1) }},
		{Doc: "Enter: closed?", Do: func(v *model.View) {
			v.Set(regClosed, v.Acquire(leaseClosed))
			if v.Reg(regClosed) == 1 {
				v.Goto("leave")
			}
		}},
		{Doc: "access", Do: func(v *model.View) {
			if v.Peek(leaseMapped) != 0 {
				v.Fail("the memory is unmapped while the holder accesses it")
			}
		}},
		{Label: "leave", Doc: "Leave: inside = 0", Do: func(v *model.View) { store(v, 0) }},
		{Doc: "Leave: closed?", Do: func(v *model.View) {
			if v.Acquire(leaseClosed) == 0 || weak == leaseNoLook {
				v.Goto("next")
			}
		}},
	}
	steps = append(steps, endLease("holder ends", "next", weak)...)
	steps = append(steps, model.Step{Label: "next", Doc: "again, or not", Do: func(v *model.View) {
		if v.Set(regTimes, v.Reg(regTimes)+1); v.Reg(regTimes) < 2 && v.Reg(regClosed) == 0 {
			v.Goto("enter")
		}
	}})
	return model.Thread{Name: "holder", Steps: steps, Early: []model.Word{leaseClosed}}
}

func leaseCloser(weak leaseWeakness) model.Thread {
	steps := []model.Step{
		{Doc: "Close: closedBit", Do: func(v *model.View) { v.Or(leaseClosed, 1) }},
		{Doc: "Close: Expedited?", Do: func(v *model.View) {
			if v.Acquire(leaseReady) == 0 {
				v.Goto("look")
			}
		}},
		{Doc: "Close: membarrier", Do: func(v *model.View) {
			if weak != leaseNoBarrier {
				v.Settle()
			}
		}},
		{Label: "look", Doc: "Close: inside?", Do: func(v *model.View) {
			if v.Acquire(leaseInside) != 0 {
				v.Goto("closed")
			}
		}},
	}
	steps = append(steps, endLease("closer ends", "closed", weak)...)
	return model.Thread{Name: "closer", Steps: append(steps, model.Step{Label: "closed", Doc: "closed", Do: func(*model.View) {}})}
}

var errMapped = errors.New("the memory stays mapped, or is unmapped twice")

func leaseModel(order model.Order, weak leaseWeakness) model.Model {
	return model.Model{
		Words: int(leaseWords), Order: order,
		Threads: []model.Thread{
			leaseHolder(weak), leaseCloser(weak),
			{Name: "registration", Steps: []model.Step{{Doc: "Expedited", Do: func(v *model.View) { v.Swap(leaseReady, 1) }}}},
		},
		AtRest: func(v *model.View) error {
			if v.Peek(leaseMapped) != 1 {
				return errMapped
			}
			return nil
		},
	}
}

func TestModelOfTheLease(t *testing.T) {
	for _, order := range []model.Order{model.TSO, model.PSO, model.Weak} {
		if res := leaseModel(order, leaseWhole).Explore(); res.Err != nil {
			t.Errorf("%v: %v\n%v", order, res.Err, res.Trace)
		}
		for _, weak := range []leaseWeakness{leaseNoBarrier, leaseNoSwap, leaseNoLook, leaseLateReady} {
			if res := leaseModel(order, weak).Explore(); res.Err == nil {
				t.Errorf("%v: weakness %d breaks no rule in %d states", order, weak, res.States)
			}
		}
	}
}
