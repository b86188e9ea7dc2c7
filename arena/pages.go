package arena

// Guard calls f and returns its error. If f accesses a page of the arena that is not allocated, Guard
// returns an error matching [ErrAbsent] that names the address. In an arena with SegvOnFault, any access
// to an absent page faults. In other arenas an access faults only if the kernel has no memory for the
// page, or if a BPF helper accessed the page while it was absent (Linux 7.2: kernel/bpf/arena.c,
// arena_vm_fault). Outside Guard such a fault ends the process. Guard does not stop other panics.
//
// A call costs about 5 ns: guard a whole walk, not each step. Guard does not cover goroutines that f
// starts. The operations of packages arena, container and loader guard their own accesses, but not the
// caller's functions that they call.
func (a *Arena) Guard(f func() error) error { return a.mem.Guard(f) }

// AllocPages allocates n pages at p, or anywhere if p is 0, and returns the address of the first. Use
// it only in arenas without a heap of package container.
//
// The error matches [ErrFull] if a page in the range is allocated already or too few pages are free, and
// [ErrPointer] if p is not the address of a page of the arena. For an n of 0, or of more pages than the
// arena has, it matches ErrTooLarge of package container.
//
// A call runs a program, which takes about a microsecond and the kernel's time to allocate the pages. The
// first call of AllocPages, [Arena.FreePages] or [Arena.Peek] also loads that program, which requires
// CAP_BPF and CAP_PERFMON.
func (a *Arena) AllocPages(p Ptr[byte], n uint64) (Ptr[byte], error) {
	addr, err := a.mem.AllocPages(uint64(p), n)
	return Ptr[byte](addr), err
}

// FreePages returns the n pages from p on to the kernel. A later access from user space allocates a new
// page, or faults in an arena with SegvOnFault. The contents of the pages are lost. The error matches
// [ErrPointer] if the range is not n whole pages of the arena. The call runs a program, as
// [Arena.AllocPages] does.
func (a *Arena) FreePages(p Ptr[byte], n uint64) error { return a.mem.FreePages(uint64(p), n) }

// Peek copies len(buf) bytes from p, a multiple of 8, to buf. It allocates no page: absent pages read as
// zeros. It runs a program, as [Arena.AllocPages] does, which takes about a microsecond for each 4 KiB.
// Errors are those of [Ptr.In].
func (a *Arena) Peek(p Ptr[byte], buf []byte) error { return a.mem.Peek(uint64(p), buf) }
