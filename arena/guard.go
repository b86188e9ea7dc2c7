package arena

import (
	"fmt"
	"runtime/debug"
)

// Guard calls f and makes an error of a fault on a page of the arena that is not
// allocated, which is possible in an arena with SegvOnFault, or when the kernel has no
// memory for the page: [ErrAbsent], with the address. Other panics go on. It costs some
// nanoseconds: guard a walk, not each step.
//
// It holds for accesses that f makes itself, not for those of goroutines that it
// starts.
func (a *Arena) Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			addr := uint64(fault.Addr())
			if addr-a.base >= a.size {
				panic(fault)
			}
			err = fmt.Errorf("%w: %#x", ErrAbsent, addr)
		default:
			panic(fault)
		}
	}()
	return f()
}
