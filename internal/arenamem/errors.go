package arenamem

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Errors that a caller can act on.
var (
	// ErrNotSupported says that the kernel lacks a feature, or that this machine cannot do it safely.
	ErrNotSupported = ebpf.ErrNotSupported
	// ErrAddressTaken is what an [*AddressTakenError] is.
	ErrAddressTaken = errors.New("address is taken")
	// ErrPointer says that a pointer does not lead to a whole, aligned value in the arena.
	ErrPointer = errors.New("invalid arena pointer")
	// ErrNil is the [ErrPointer] of a nil pointer.
	ErrNil = fmt.Errorf("%w: nil", ErrPointer)
	// ErrAbsent says that an operation touched a page that is not allocated: a pointer is
	// corrupt, or the page was freed. The operation has changed nothing, but the blocks that it
	// allocated or freed may be lost.
	ErrAbsent = errors.New("arena page is not allocated")
	// ErrFormat says that what lies in the arena was not made by this package, or
	// by a version of it that is not known.
	ErrFormat = errors.New("unknown arena layout")
	// ErrCorrupt says that what lies in the arena contradicts itself.
	ErrCorrupt = errors.New("corrupt arena")
	// ErrFull says that the arena, a queue or the table of roots has no room left.
	ErrFull = errors.New("arena is full")
	// ErrTooLarge says that an allocation or value can never fit.
	ErrTooLarge = errors.New("too large")
	// ErrNotAllocated says that what was to be freed is not allocated: it was freed before,
	// or never was.
	ErrNotAllocated = errors.New("not allocated (a double free?)")
	// ErrNotFound says that there is no such key or root.
	ErrNotFound = errors.New("not found")
	// ErrExists says that there is such a key or root already.
	ErrExists = errors.New("exists already")
	// ErrBusy says that others changed the same word for too long; try again.
	ErrBusy = errors.New("contended")
	// ErrEmpty says that a list or queue has nothing in it.
	ErrEmpty = errors.New("empty")
)

// AddressTakenError says what lies where an arena has to be mapped.
type AddressTakenError struct {
	Base, Size uint64
	// By are the lines of /proc/self/maps for what is there.
	By []string
}

func (e *AddressTakenError) Error() string {
	return fmt.Sprintf("%v: %#x-%#x overlaps %s", ErrAddressTaken, e.Base, e.Base+e.Size, strings.Join(e.By, "; "))
}

// Is makes it an [ErrAddressTaken] and the kernel's EEXIST.
func (e *AddressTakenError) Is(target error) bool {
	return target == ErrAddressTaken || target == unix.EEXIST
}

// explainMap says why the kernel did not map an arena at base.
func explainMap(err error, base, size uint64) error {
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		if by := overlapping(base, size); len(by) > 0 {
			return &AddressTakenError{base, size, by}
		}
		err = fmt.Errorf("%w (another mapping was there)", err)
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("%w (the arena lies at another address)", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w (the map was opened read-only)", err)
	case errors.Is(err, unix.ENOMEM):
		err = fmt.Errorf("%w (no address space for %d bytes at %#x)", err, size, base)
	}
	return fmt.Errorf("map %d bytes at %#x: %w", size, base, err)
}
