package arenamem

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// Guard calls f and turns a fault on a page of the arena that is not allocated into an
// error: [ErrAbsent], with the address. Such a fault is possible in an arena with SegvOnFault;
// in others when the kernel has no memory for the page, or when a helper of a program touched
// it while it was absent (Linux 7.2: kernel/bpf/arena.c, arena_vm_fault). Other panics go on. It
// costs about 5 ns: guard a walk, not each step.
//
// Guard covers the accesses of f itself, not those of goroutines that it starts. Every operation
// of this package guards its own accesses, but runs a caller's function outside its guard: a fault
// there is the caller's.
func (a *Arena) Guard(f func() error) (err error) {
	defer a.catch(debug.SetPanicOnFault(true), &err)
	return f()
}

// catch ends a guarded access. Defer it as Guard does: before is the old value of SetPanicOnFault.
func (a *Arena) catch(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if fault := recover(); fault != nil {
		_, *err = a.absent(fault)
	}
}

// catch ends a guarded operation on the heap, as [Arena.catch] does.
func (h *Heap) catch(verb string, before bool, err *error) {
	debug.SetPanicOnFault(before)
	if fault := recover(); fault != nil {
		addr, cause := h.a.absent(fault)
		h.giveUp(addr)
		*err = fmt.Errorf("%s: %w", verb, cause)
	}
}

// absent returns the address and the error of a fault in the arena. It repeats any other
// panic.
func (a *Arena) absent(fault any) (uint64, error) {
	at, ok := fault.(interface{ Addr() uintptr })
	if !ok || uint64(at.Addr())-a.base >= a.size {
		panic(fault)
	}
	addr := uint64(at.Addr())
	return addr, fmt.Errorf("%w: %#x", ErrAbsent, addr)
}

// giveUp empties the free lists whose first block is at an address that faulted: every later
// allocation would fault there again. The blocks behind it are lost, as in pop.
func (h *Heap) giveUp(addr uint64) {
	_ = h.a.Guard(func() error { // the lists may be absent too
		for c := range uint32(classes) {
			list := h.class(c)
			head := list.head.Load()
			if uint32(head) != 0 && h.address(uint32(head)) == addr && list.head.CompareAndSwap(head, tagged(head, 0)) {
				atomic.AddUint64(&h.s.corrupt, 1)
			}
		}
		return nil
	})
}
