package arena

import "unsafe"

// Ptr is a pointer to a T in an arena, as BPF programs store it: a user address, or 0 for nil. It is a
// plain number: convert it to the Ptr of another type, and add bytes, not elements, to it.
//
// T must have the layout of its C type, and hold no Go pointers, because the garbage collector does not
// see the arena. This is not checked. A T may contain a Ptr.
type Ptr[T any] uint64

// In returns p as a Go pointer into the mapping of a. The Go pointer is valid until a.Close, even if a
// becomes unreachable. In checks that the address lies in the arena, not that its page is present: see
// [Arena.Guard]. The memory may change at any time: use sync/atomic for fields that others write.
//
// The error matches [ErrPointer] if p is nil or not aligned, or if the T is not wholly inside the arena,
// and [os.ErrClosed] after Close.
func (p Ptr[T]) In(a *Arena) (*T, error) {
	var t T
	off := a.mem.Offset(uint64(p))
	if p == 0 || off >= a.mem.Size || a.mem.Size-off < uint64(unsafe.Sizeof(t)) || off%uint64(unsafe.Alignof(t)) != 0 {
		return nil, a.mem.PointerError(uint64(p), uint64(unsafe.Sizeof(t)), uint64(unsafe.Alignof(t)))
	}
	// SAFETY: the check above proves that the T lies inside the mapping, which lasts until Close.
	return (*T)(unsafe.Add(a.mem.Addr, off)), nil
}

// Load returns a copy of the value at p. If its page is absent, the error matches [ErrAbsent]; in an
// arena without SegvOnFault, Load allocates the page instead. If others write to the value meanwhile,
// the copy may be torn. Other errors are those of [Ptr.In].
func (p Ptr[T]) Load(a *Arena) (t T, err error) {
	at, err := p.In(a)
	if err != nil {
		return t, err
	}
	err = a.Guard(func() error { t = *at; return nil })
	return t, err
}

// Store writes t to p. If others read the value meanwhile, they may see a part of it. Errors are those of
// [Ptr.Load].
func (p Ptr[T]) Store(a *Arena, t T) error {
	at, err := p.In(a)
	if err != nil {
		return err
	}
	return a.Guard(func() error { *at = t; return nil })
}

// Bytes returns the n bytes from p on. The slice is the arena's memory and is valid until Close. Like
// [Ptr.In], it does not check that the pages are present: see [Arena.Guard]. Errors are those of Ptr.In.
func (a *Arena) Bytes(p Ptr[byte], n uint64) ([]byte, error) { return a.mem.Bytes(uint64(p), n) }
