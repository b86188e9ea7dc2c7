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

// Catch ends a guarded access: it sets SetPanicOnFault back to before, the value that it had, and turns a
// fault in the arena into *err. Defer it as Guard does.
func (m *Memory) Catch(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if fault := recover(); fault != nil {
		_, *err = m.absent(fault)
	}
}

// Catch ends a guarded operation on the heap, as [Memory.Catch] does. It also empties the free lists that
// lead to the absent page.
func (h *Heap) Catch(verb string, before bool, err *error) {
	debug.SetPanicOnFault(before)
	if fault := recover(); fault != nil {
		addr, cause := h.Mem.absent(fault)
		h.giveUp(addr)
		*err = fmt.Errorf("%s: %w", verb, cause)
	}
}

// absent returns the address of a fault in the arena, and an error for it. If fault is any other panic,
// absent panics with it again.
func (m *Memory) absent(fault any) (uint64, error) {
	at, ok := fault.(interface{ Addr() uintptr })
	if !ok || uint64(at.Addr())-m.Base >= m.Size {
		panic(fault)
	}
	addr := uint64(at.Addr())
	return addr, fmt.Errorf("%w: %#x", ErrAbsent, addr)
}

// giveUp empties the free lists whose first block is at addr, where an access faulted: every allocation
// from them would fault again. The blocks of these lists are lost.
func (h *Heap) giveUp(addr uint64) {
	_ = h.Mem.Guard(func() error { // the page of the lists may be absent too
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
