// Package arenamem implements an arena's memory for packages arena, arena/container and arena/loader:
// the mapping, pointer checks, pages, the superblock and the heap. Those packages document it for users.
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

// PageSize is the kernel's page size, in bytes.
var PageSize = uint64(os.Getpagesize())

// Memory is an arena's mapping in this process. Its fields are constant until Close.
//
// Its methods may be called by many goroutines at once; Close must not run together with them.
type Memory struct {
	Map   *ebpf.Map
	Base  uint64         // user address of the first byte
	Addr  unsafe.Pointer // Base as a pointer, from which all pointers into the mapping are derived
	Size  uint64         // bytes; 0 after Close, so that every bounds check fails
	Flags uint32         // flags of the map

	mu       sync.Mutex
	programs map[string]*ebpf.Program // programs of arenapages, loaded on first use
}

// Owner is implemented by *arena.Arena, which embeds a Handle.
type Owner interface{ memory() *Memory }

// Handle gives this module access to the memory of an Owner, without an exported method.
type Handle struct{ m *Memory }

func (h Handle) memory() *Memory { return h.m }

// NewHandle returns a handle of m.
func NewHandle(m *Memory) Handle { return Handle{m} }

// Of returns the memory of an arena. It is valid until the arena is closed.
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

// SegvOnFault reports whether an access to an absent page faults. In other arenas the access allocates
// the page.
func (m *Memory) SegvOnFault() bool { return m.Flags&mapflag.SegvOnFault != 0 }

// NoUserConv reports whether programs store pointers without their upper half.
func (m *Memory) NoUserConv() bool { return m.Flags&mapflag.NoUserConv != 0 }

// Offset returns the offset of addr from the base. An offset of Size or more means that addr is outside
// the arena. In an arena with NO_USER_CONV, Offset ignores the upper 32 bits of addr. The lower 32 bits
// are unique, because no arena crosses a multiple of 4 GiB.
func (m *Memory) Offset(addr uint64) uint64 {
	off := addr - m.Base
	if m.Flags&mapflag.NoUserConv != 0 {
		off = uint64(uint32(off))
	}
	return off
}

// Bytes returns the n bytes from addr on. The slice is the arena's memory and is valid until Close.
func (m *Memory) Bytes(addr, n uint64) ([]byte, error) {
	off := m.Offset(addr)
	if addr == 0 || off >= m.Size || m.Size-off < n {
		return nil, m.PointerError(addr, n, 1)
	}
	// SAFETY: the n bytes lie inside the mapping, which lasts until Close.
	return unsafe.Slice((*byte)(unsafe.Add(m.Addr, off)), n), nil
}

// PointerError returns an error that says why addr is not a pointer to size bytes, aligned to align, in
// the arena.
func (m *Memory) PointerError(addr, size, align uint64) error {
	switch {
	case m.Size == 0:
		return ErrClosed
	case addr == 0:
		return ErrNil
	case m.Offset(addr)%align != 0:
		return fmt.Errorf("%w: %#x is not aligned to %d bytes", ErrPointer, addr, align)
	}
	return fmt.Errorf("%w: %d bytes at %#x are not all in the arena, %#x-%#x", ErrPointer, size, addr, m.Base, m.Base+m.Size)
}

// Pointer returns addr as a pointer to size bytes. It returns nil if addr is not aligned to align, or if
// the bytes are not all in the arena.
func (m *Memory) Pointer(addr, size, align uint64) unsafe.Pointer {
	off := m.Offset(addr)
	if addr == 0 || off >= m.Size || m.Size-off < size || off%align != 0 {
		return nil
	}
	// SAFETY: the size bytes lie inside the mapping, which lasts until Close.
	return unsafe.Add(m.Addr, off)
}

// Origin returns a pointer to address 0, derived from Addr. Adding a user address of the arena to it gives
// the pointer to that address, without subtracting Base first.
func (m *Memory) Origin() unsafe.Pointer { return unsafe.Add(m.Addr, -m.Base) }
