package arena

import "unsafe"

// Ptr is a pointer to a T in an arena, as BPF programs store it: the user address,
// and 0 for nil. T must hold no Go pointers: the garbage collector does not see them.
type Ptr[T any] uint64

// In returns p as a Go pointer into the mapping of a, without copying. It is valid until
// a.Close, even if a is unreachable. The memory may change at any time: load fields that others
// write with sync/atomic.
//
// Errors: [ErrPointer] where p is nil, the T is not wholly inside the arena or not
// aligned; [os.ErrClosed].
func (p Ptr[T]) In(a *Arena) (*T, error) {
	var t T
	off := a.mem.Offset(uint64(p))
	if p == 0 || off >= a.mem.Size || a.mem.Size-off < uint64(unsafe.Sizeof(t)) || off%uint64(unsafe.Alignof(t)) != 0 {
		return nil, a.mem.PointerError(uint64(p), uint64(unsafe.Sizeof(t)), uint64(unsafe.Alignof(t)))
	}
	// SAFETY: the T lies inside the mapping, which lasts until Close.
	return (*T)(unsafe.Add(a.mem.Addr, off)), nil
}

// Load returns a copy of what p points to. Unlike what In returns it can be used where a
// page may be absent: the error is [ErrAbsent] then. In an arena without SegvOnFault
// it allocates the page instead.
//
// The copy is no snapshot: others may write meanwhile.
func (p Ptr[T]) Load(a *Arena) (t T, err error) {
	at, err := p.In(a)
	if err != nil {
		return t, err
	}
	err = a.Guard(func() error { t = *at; return nil })
	return t, err
}

// Store writes t to where p points; see Load.
func (p Ptr[T]) Store(a *Arena, t T) error {
	at, err := p.In(a)
	if err != nil {
		return err
	}
	return a.Guard(func() error { *at = t; return nil })
}

// Bytes returns n bytes of the arena from p on, without copying, valid until Close. Errors are
// those of [Ptr.In].
func (a *Arena) Bytes(p Ptr[byte], n uint64) ([]byte, error) { return a.mem.Bytes(uint64(p), n) }
