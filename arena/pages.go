package arena

// Guard calls f and turns a fault on a page of the arena that is not allocated into an
// error: [ErrAbsent], with the address. Such a fault is possible in an arena with SegvOnFault;
// in others when the kernel has no memory for the page, or when a helper of a program touched
// it while it was absent (Linux 7.2: kernel/bpf/arena.c, arena_vm_fault). Other panics go on. It
// costs about 5 ns: guard a walk, not each step.
//
// Guard covers the accesses of f itself, not those of goroutines that it starts. Every operation
// of this package guards its own accesses, but runs a caller's function outside its guard: a fault
// there is the caller's.
func (a *Arena) Guard(f func() error) error { return a.mem.Guard(f) }

// AllocPages allocates n pages at the address p, or anywhere when p is nil, for
// arenas that have no heap. Pages that are allocated already, in the way or too few give
// [ErrFull]. It runs a program: about a microsecond, and more for the pages.
func (a *Arena) AllocPages(p Ptr[byte], n uint64) (Ptr[byte], error) {
	addr, err := a.mem.AllocPages(uint64(p), n)
	return Ptr[byte](addr), err
}

// FreePages gives n pages from p on back to the kernel. Who touches them in user space
// gets new ones, or a fault.
func (a *Arena) FreePages(p Ptr[byte], n uint64) error { return a.mem.FreePages(uint64(p), n) }

// Peek copies the len(buf) bytes at p, which is a multiple of 8, without allocating the pages
// that they lie in: what is absent is 0. Programs do the copying: a microsecond for
// 4 KiB.
func (a *Arena) Peek(p Ptr[byte], buf []byte) error { return a.mem.Peek(uint64(p), buf) }
