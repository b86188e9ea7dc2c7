package arenamem

import (
	"fmt"
	"os"
	"reflect"
	"unsafe"
)

// Ptr is a pointer to a T in an arena, as BPF programs store it: the user address,
// and 0 for nil. T must hold no Go pointers: the garbage collector does not see them.
type Ptr[T any] uint64

// In returns p as a Go pointer into the mapping of a, without copying. It is valid until
// a.Close, even if a is unreachable. The memory may change at any time: load fields that others
// write with sync/atomic.
//
// Errors: [ErrNil]; [ErrPointer] where the T is not wholly inside the arena or not
// aligned; [os.ErrClosed].
func (p Ptr[T]) In(a *Arena) (*T, error) {
	var t T
	off := a.offsetOf(uint64(p))
	if p == 0 || off >= a.size || a.size-off < uint64(unsafe.Sizeof(t)) || off%uint64(unsafe.Alignof(t)) != 0 {
		return nil, a.pointerError(uint64(p), uint64(unsafe.Sizeof(t)), uint64(unsafe.Alignof(t)))
	}
	// SAFETY: the T lies inside the mapping, which lasts until Close.
	return (*T)(unsafe.Add(a.mem, off)), nil
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

// PtrTo returns the arena pointer for v, a Go pointer into the mapping of a. The
// error is [ErrPointer] where it is none, or where T holds Go pointers.
func PtrTo[T any](a *Arena, v *T) (Ptr[T], error) {
	if typ := reflect.TypeFor[T](); holdsPointers(typ) {
		return 0, fmt.Errorf("%w: %s holds Go pointers", ErrPointer, typ)
	}
	p := Ptr[T](a.base + uint64(uintptr(unsafe.Pointer(v))-uintptr(a.mem)))
	if _, err := p.In(a); err != nil {
		return 0, err
	}
	return p, nil
}

// Bytes returns n bytes of the arena from p on, without copying, valid until Close. Errors are
// those of [Ptr.In].
func (a *Arena) Bytes(p Ptr[byte], n uint64) ([]byte, error) {
	off := a.offsetOf(uint64(p))
	if p == 0 || off >= a.size || a.size-off < n {
		return nil, a.pointerError(uint64(p), n, 1)
	}
	// SAFETY: as in Ptr.In.
	return unsafe.Slice((*byte)(unsafe.Add(a.mem, off)), n), nil
}

// offsetOf returns how far behind the base an address is; it may be outside. In an
// arena with NO_USER_CONV only the lower 32 bits of a pointer count: the arena
// does not cross a multiple of 4 GiB, so they say all.
func (a *Arena) offsetOf(addr uint64) uint64 {
	off := addr - a.base
	if a.flags&flagNoUserConv != 0 {
		off = uint64(uint32(off))
	}
	return off
}

func (a *Arena) pointerError(addr, size, align uint64) error {
	switch {
	case a.size == 0:
		return fmt.Errorf("use arena: %w", os.ErrClosed)
	case addr == 0:
		return ErrNil
	case a.offsetOf(addr)%align != 0:
		return fmt.Errorf("%w: %#x is not aligned to %d bytes", ErrPointer, addr, align)
	}
	return fmt.Errorf("%w: %d bytes at %#x do not lie in the arena, %#x-%#x", ErrPointer, size, addr, a.base, a.base+a.size)
}

// holdsPointers reports whether a value of the type refers to memory of Go.
func holdsPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && holdsPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return false
	}
	return true
}
