package arenamem

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Check applies the kernel's rules (kernel/bpf/arena.c, arena_map_alloc) to an arena's size and address
// and names the broken rule. The error matches the kernel's errno: EINVAL, E2BIG or ERANGE.
func Check(size, base uint64) error {
	switch {
	case size == 0 || size%PageSize != 0:
		return explain.Error(unix.EINVAL, "size %d is not a positive multiple of the page size %d", size, PageSize)
	case size > Window:
		return explain.Error(unix.E2BIG, "size %d is more than 4 GiB", size)
	case base%PageSize != 0:
		return explain.Error(unix.EINVAL, "base %#x is not a multiple of the page size %d", base, PageSize)
	case base/Window != (base+size-1)/Window:
		return explain.Error(unix.ERANGE, "%d bytes at base %#x cross a multiple of 4 GiB", size, base)
	}
	return nil
}

// MapAt maps an arena at its user address. It takes ownership of the map: Close closes it.
func (m *Memory) MapAt(arena *ebpf.Map, base uint64) error {
	size := uint64(arena.MaxEntries()) * uint64(os.Getpagesize())
	addr, err := syscall.MmapAt(arena.FD(), uintptr(base), uintptr(size), unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return explainMap(err, base, size)
	}
	m.Map, m.Base, m.Addr, m.Size, m.Flags = arena, base, addr, size, arena.Flags()
	return nil
}

// addressTakenError names the mappings at the address of an arena.
type addressTakenError struct {
	base, size uint64   // of the arena
	by         []string // lines of /proc/self/maps, one for each mapping in the way
}

func (e *addressTakenError) Error() string {
	return fmt.Sprintf("%v: %#x-%#x overlaps %s", ErrAddressTaken, e.base, e.base+e.size, strings.Join(e.by, "; "))
}

// Is reports whether target is ErrAddressTaken or the kernel's EEXIST.
func (e *addressTakenError) Is(target error) bool {
	return target == ErrAddressTaken || target == unix.EEXIST
}

// explainMap explains why the kernel did not map an arena at base.
func explainMap(err error, base, size uint64) error {
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		if by := Overlapping(base, size); len(by) > 0 {
			return &addressTakenError{base, size, by}
		}
		err = fmt.Errorf("%w (another mapping was there)", err)
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("%w (the arena already has another address)", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w (the map was opened read-only)", err)
	case errors.Is(err, unix.ENOMEM):
		err = fmt.Errorf("%w (no address space for %d bytes at %#x)", err, size, base)
	}
	return fmt.Errorf("map %d bytes at %#x: %w", size, base, err)
}
