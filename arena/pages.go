package arena

// Guard calls f and returns its error. If f accesses a page of the arena that is not allocated, Guard
// returns an error matching [ErrAbsent] that names the address. Such a fault is possible in an arena
// with SegvOnFault; in others, if the kernel has no memory for the page, or if a helper of a program
// touched it while it was absent (Linux 7.2: kernel/bpf/arena.c, arena_vm_fault). Other panics continue.
//
// A call costs about 5 ns: guard a walk, not each step. Guard does not cover goroutines that f starts.
// The operations of packages arena, container and loader guard their own accesses, but not the functions
// that they call for the caller.
func (a *Arena) Guard(f func() error) error { return a.mem.Guard(f) }

// AllocPages allocates n pages at p, or anywhere if p is nil, and returns the address of the first. It
// is for arenas without a heap. The error matches [ErrFull] if one of the pages is allocated already or
// too few are free, and [ErrPointer] if p is no page of the arena. It takes about a microsecond, to run
// a program, and the kernel's time for the pages.
func (a *Arena) AllocPages(p Ptr[byte], n uint64) (Ptr[byte], error) {
	addr, err := a.mem.AllocPages(uint64(p), n)
	return Ptr[byte](addr), err
}

// FreePages returns the n pages from p on to the kernel. A later access in user space allocates a new
// page, or faults with SegvOnFault. The error matches [ErrPointer] if they are not pages of the arena.
func (a *Arena) FreePages(p Ptr[byte], n uint64) error { return a.mem.FreePages(uint64(p), n) }

// Peek copies the len(buf) bytes at p, a multiple of 8, without allocating pages: absent pages read as
// zeros. It runs a program, which takes about a microsecond for each 4 KiB. Errors are those of [Ptr.In].
func (a *Arena) Peek(p Ptr[byte], buf []byte) error { return a.mem.Peek(uint64(p), buf) }
