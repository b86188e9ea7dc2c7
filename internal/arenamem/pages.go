package arenamem

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/arenapages"
	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/syscall"
)

// run runs a program of package arenapages, named by program. context is its argument and its result.
func (m *Memory) run(program string, context any) error {
	programs, err := m.load()
	if err != nil {
		return err
	}
	ret, err := programs[program].Run(&ebpf.RunOptions{Context: context, ContextOut: context})
	if err == nil && ret != 0 {
		err = unix.Errno(-int32(ret))
	}
	return err
}

// load returns the programs of package arenapages. The first call loads them. Package loader cannot do
// that: it imports arenamem.
func (m *Memory) load() (map[string]*ebpf.Program, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Size == 0 {
		return nil, ErrClosed
	}
	if m.programs != nil {
		return m.programs, nil
	}
	spec, err := arenapages.Spec()
	if err != nil {
		return nil, err
	}
	loader := syscall.Loader{Types: spec.Types, Cache: kernelbtf.Cache(), Map: func(name string) syscall.MapRef {
		if name != arenapages.Arena {
			return syscall.MapRef{}
		}
		return syscall.MapRef{Map: m.Map}
	}}
	programs := map[string]*ebpf.Program{}
	for name, p := range spec.Programs {
		if programs[name], err = loader.Load(p); err != nil {
			for _, p := range programs {
				p.Close()
			}
			return nil, err
		}
	}
	m.programs = programs
	return m.programs, nil
}

// AllocPages is [arena.Arena.AllocPages].
func (m *Memory) AllocPages(addr, n uint64) (uint64, error) {
	if addr != 0 && (addr%PageSize != 0 || m.Offset(addr) >= m.Size) {
		return 0, fmt.Errorf("allocate pages: %w", m.PointerError(addr, PageSize, PageSize))
	}
	if m.Size == 0 {
		return 0, ErrClosed
	}
	if n == 0 || n > m.Size/PageSize {
		return 0, fmt.Errorf("allocate pages: %w: %d pages, not 1 to %d", ErrTooLarge, n, m.Size/PageSize)
	}
	r := arenapages.Range{Addr: addr, Count: n}
	if err := m.run(arenapages.AllocPages, &r); err != nil {
		return 0, fmt.Errorf("allocate pages: %w", err)
	}
	if r.Result == 0 {
		return 0, fmt.Errorf("allocate %d pages at %#x: %w", n, addr, ErrFull)
	}
	return m.Base + m.Offset(r.Result), nil
}

// FreePages is [arena.Arena.FreePages].
func (m *Memory) FreePages(addr, n uint64) error {
	if off := m.Offset(addr); addr == 0 || off%PageSize != 0 || off >= m.Size || n > (m.Size-off)/PageSize {
		return fmt.Errorf("free pages: %w", m.PointerError(addr, n*PageSize, PageSize))
	}
	if err := m.run(arenapages.FreePages, &arenapages.Range{Addr: addr, Count: n}); err != nil {
		return fmt.Errorf("free pages: %w", err)
	}
	return nil
}

// Peek is [arena.Arena.Peek].
func (m *Memory) Peek(addr uint64, buf []byte) error {
	if _, err := m.Bytes(addr, uint64(len(buf))); err != nil {
		return fmt.Errorf("peek: %w", err)
	}
	if addr%8 != 0 {
		return fmt.Errorf("peek: %w: %#x is not a multiple of 8", ErrPointer, addr)
	}
	var c arenapages.Copy
	for len(buf) > 0 {
		c.Addr = addr
		if err := m.run(arenapages.CopyOut, &c); err != nil {
			return fmt.Errorf("peek: %w", err)
		}
		// SAFETY: the slice has the address and the length of the array c.Data.
		n := copy(buf, unsafe.Slice((*byte)(unsafe.Pointer(&c.Data)), unsafe.Sizeof(c.Data)))
		buf, addr = buf[n:], addr+uint64(n)
	}
	return nil
}

// Present allocates those pages of the n bytes from offset off on that are absent.
func (m *Memory) Present(off, n uint64) error {
	first, end := off/PageSize, (off+n+PageSize-1)/PageSize
	if !m.SegvOnFault() {
		return m.Touch(first, end)
	}
	for page := first; page < end; page++ {
		// One call per page: the kernel refuses a range in which a page is allocated already.
		r := arenapages.Range{Addr: m.Base + page*PageSize, Count: 1}
		if err := m.run(arenapages.AllocPages, &r); err != nil {
			return err
		}
	}
	return m.Touch(first, end) // fails if a page is still absent
}

// Touch writes to the pages first to end-1. It adds 0, since other processes may use the pages.
func (m *Memory) Touch(first, end uint64) error {
	return m.Guard(func() error {
		for page := first; page < end; page++ {
			// SAFETY: the caller passes pages of the arena.
			atomic.AddUint64((*uint64)(unsafe.Add(m.Addr, page*PageSize)), 0)
		}
		return nil
	})
}
