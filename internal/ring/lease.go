package ring

import (
	"sync/atomic"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Lease is a use of a Mapping by a goroutine that enters and leaves for each record. It costs no
// locked instruction, once membarrier(2) is registered: Acquire and Release cost two, more than
// copying a short record.
//
// Call Enter and Leave from one goroutine at a time, the holder. Any goroutine may call Close. The
// memory stays mapped while the holder is inside, and at least until Close.
type Lease struct {
	mem    *Mapping
	inside uint64 // calls of Enter without a Leave; only the holder stores it
	fast   bool   // stores of inside are not full barriers (litmus lease-close); set by the holder
	over   atomic.Bool
}

// Lease returns a Lease of m, which must not be closed.
func (m *Mapping) Lease() *Lease {
	m.Acquire()
	syscall.RegisterExpedited()
	return &Lease{mem: m}
}

// Enter reports whether the holder may access the memory. Call Leave in either case.
func (l *Lease) Enter() bool {
	if l.fast {
		order.StoreRelease(&l.inside, l.inside+1)
	} else {
		l.enterSlowly()
	}
	return !l.mem.Closed()
}

// enterSlowly enters with a full barrier (litmus lease-close), and lets later calls enter quickly if
// that is safe: after Expedited was true, Closed sees each Close that found it false and called no
// membarrier.
func (l *Lease) enterSlowly() {
	l.fast = l.inside == 0 && syscall.Expedited()
	atomic.StoreUint64(&l.inside, l.inside+1)
}

// Leave ends an Enter. It returns true if the Mapping is closed and the caller was its last user.
// The caller must then call Unmap.
func (l *Lease) Leave() (last bool) {
	if l.fast {
		order.StoreRelease(&l.inside, l.inside-1)
		if !l.mem.Closed() {
			return false
		}
	}
	return l.leaveSlowly()
}

// leaveSlowly leaves with a full barrier (litmus lease-close) unless l is fast, and ends the Lease
// after Close.
func (l *Lease) leaveSlowly() (last bool) {
	if !l.fast {
		atomic.StoreUint64(&l.inside, l.inside-1)
	}
	return l.inside == 0 && l.mem.Closed() && l.end()
}

// Close is [Mapping.Close]. If the holder is inside, its Leave can return true.
func (l *Lease) Close() (last bool) {
	l.mem.Close()
	// Either this load sees the holder inside, or the holder sees that the Mapping is closed: the call
	// is a full barrier of both (litmus lease-close).
	if syscall.Expedited() && syscall.ExpeditedMembarrier() != nil {
		return false // the garbage collector unmaps the memory
	}
	return atomic.LoadUint64(&l.inside) == 0 && l.end()
}

// end ends the use of the Mapping that the Lease has had from the beginning.
func (l *Lease) end() (last bool) {
	return l.over.CompareAndSwap(false, true) && l.mem.Release()
}
