// Package arenamem is an arena's memory as packages arena, arena/container and arena/loader share it:
// the mapping and its checks, pages, the superblock, the heap. Users see it through those packages,
// which document it.
package arenamem

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Window is the maximum size of an arena, in bytes. No arena crosses a multiple of it.
const Window = 1 << 32

// PageSize is the kernel's, in bytes.
var PageSize = uint64(os.Getpagesize())

// Memory is an arena's mapping in this process. Its fields are constant until Close.
//
// Its methods may be called by many goroutines at once; Close must not run together with them.
type Memory struct {
	Map   *ebpf.Map
	Base  uint64         // the user address of the first byte
	Addr  unsafe.Pointer // the same: pointers into the mapping are derived from it
	Size  uint64         // bytes; 0 after Close, so that every bounds check fails
	Flags uint32         // the map's

	mu       sync.Mutex
	programs map[string]*ebpf.Program // of arenapages, loaded when first needed
}

// Owner is implemented by *arena.Arena, which embeds a Handle.
type Owner interface{ memory() *Memory }

// Handle leads from an Owner to its memory, without an exported method.
type Handle struct{ m *Memory }

func (h Handle) memory() *Memory { return h.m }

// NewHandle returns a handle of m.
func NewHandle(m *Memory) Handle { return Handle{m} }

// Of returns the memory of an arena, valid as long as the arena.
func Of(a Owner) *Memory { return a.memory() }

// Close unmaps the memory and closes the map. It is idempotent.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Size == 0 {
		return nil
	}
	size := m.Size
	m.Size = 0
	err := syscall.Munmap(m.Addr, uintptr(size))
	for _, p := range m.programs {
		err = errors.Join(err, p.Close())
	}
	return errors.Join(err, m.Map.Close())
}

// SegvOnFault reports whether touching an absent page faults, instead of allocating it.
func (m *Memory) SegvOnFault() bool { return m.Flags&mapflag.SegvOnFault != 0 }

// NoUserConv reports whether programs store pointers without their upper half.
func (m *Memory) NoUserConv() bool { return m.Flags&mapflag.NoUserConv != 0 }

// Offset returns the offset of an address from the base, which is at least Size if it is outside. In an
// arena with NO_USER_CONV only the lower 32 bits of a pointer count, which identify it: an arena does not
// cross a multiple of 4 GiB.
func (m *Memory) Offset(addr uint64) uint64 {
	off := addr - m.Base
	if m.Flags&mapflag.NoUserConv != 0 {
		off = uint64(uint32(off))
	}
	return off
}

// Bytes returns n bytes from addr on, without copying, valid until Close.
func (m *Memory) Bytes(addr, n uint64) ([]byte, error) {
	off := m.Offset(addr)
	if addr == 0 || off >= m.Size || m.Size-off < n {
		return nil, m.PointerError(addr, n, 1)
	}
	// SAFETY: the n bytes lie inside the mapping, which lasts until Close.
	return unsafe.Slice((*byte)(unsafe.Add(m.Addr, off)), n), nil
}

// PointerError explains why there are no size bytes, aligned to align, at addr in the arena.
func (m *Memory) PointerError(addr, size, align uint64) error {
	switch {
	case m.Size == 0:
		return ErrClosed
	case addr == 0:
		return ErrNil
	case m.Offset(addr)%align != 0:
		return fmt.Errorf("%w: %#x is not aligned to %d bytes", ErrPointer, addr, align)
	}
	return fmt.Errorf("%w: %d bytes at %#x do not lie in the arena, %#x-%#x", ErrPointer, size, addr, m.Base, m.Base+m.Size)
}

// Pointer returns addr as a pointer to size bytes, aligned to align: nil if they do not lie in the
// arena.
func (m *Memory) Pointer(addr, size, align uint64) unsafe.Pointer {
	off := m.Offset(addr)
	if addr == 0 || off >= m.Size || m.Size-off < size || off%align != 0 {
		return nil
	}
	// SAFETY: the size bytes lie inside the mapping, which lasts until Close.
	return unsafe.Add(m.Addr, off)
}

// Origin returns a pointer to address 0, derived from the mapping: the user addresses of the arena are
// offsets from it, as Base is the offset of Addr. Adding an address to it takes no subtraction first.
func (m *Memory) Origin() unsafe.Pointer { return unsafe.Add(m.Addr, -m.Base) }
