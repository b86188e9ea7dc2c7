package arenamem

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// Guard is [arena.Arena.Guard].
func (m *Memory) Guard(f func() error) (err error) {
	defer m.Catch(debug.SetPanicOnFault(true), &err)
	return f()
}

// Catch ends a guarded access. Defer it as Guard does: before is the previous setting of
// SetPanicOnFault.
func (m *Memory) Catch(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if fault := recover(); fault != nil {
		_, *err = m.absent(fault)
	}
}

// Catch ends a guarded operation on the heap, as [Memory.Catch] does.
func (h *Heap) Catch(verb string, before bool, err *error) {
	debug.SetPanicOnFault(before)
	if fault := recover(); fault != nil {
		addr, cause := h.Mem.absent(fault)
		h.giveUp(addr)
		*err = fmt.Errorf("%s: %w", verb, cause)
	}
}

// absent returns the address and the error of a fault in the arena. It repeats any other panic.
func (m *Memory) absent(fault any) (uint64, error) {
	at, ok := fault.(interface{ Addr() uintptr })
	if !ok || uint64(at.Addr())-m.Base >= m.Size {
		panic(fault)
	}
	addr := uint64(at.Addr())
	return addr, fmt.Errorf("%w: %#x", ErrAbsent, addr)
}

// giveUp empties the free lists whose first block is at an address that faulted, where every allocation
// would fault again. The blocks behind it are lost, as in pop.
func (h *Heap) giveUp(addr uint64) {
	_ = h.Mem.Guard(func() error { // the lists may be absent too
		for c := range uint32(Classes) {
			list := h.Class(c)
			head := list.Head.Load()
			if uint32(head) != 0 && h.Address(uint32(head)) == addr && list.Head.CompareAndSwap(head, Tagged(head, 0)) {
				atomic.AddUint64(&h.Super.Corrupt, 1)
			}
		}
		return nil
	})
}
