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

// run runs a program of package arenapages.
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

// load returns the programs, and loads them on the first call. It cannot use package loader, which
// imports this one.
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
	if n == 0 || n > m.Size/PageSize {
		return 0, fmt.Errorf("allocate pages: %w: %d pages", ErrTooLarge, n)
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
		// SAFETY: the slice is the array.
		n := copy(buf, unsafe.Slice((*byte)(unsafe.Pointer(&c.Data)), unsafe.Sizeof(c.Data)))
		buf, addr = buf[n:], addr+uint64(n)
	}
	return nil
}

// Present allocates the absent pages among those of the n bytes from off on.
func (m *Memory) Present(off, n uint64) error {
	first, end := off/PageSize, (off+n+PageSize-1)/PageSize
	if !m.SegvOnFault() {
		return m.Touch(first, end)
	}
	for page := first; page < end; page++ {
		// One call per page: the kernel refuses a range with an allocated page.
		r := arenapages.Range{Addr: m.Base + page*PageSize, Count: 1}
		if err := m.run(arenapages.AllocPages, &r); err != nil {
			return err
		}
	}
	return m.Touch(first, end) // fails if one is absent
}

// Touch writes to pages without changing them, since others may use them.
func (m *Memory) Touch(first, end uint64) error {
	return m.Guard(func() error {
		for page := first; page < end; page++ {
			// SAFETY: the caller passes pages of the arena.
			atomic.AddUint64((*uint64)(unsafe.Add(m.Addr, page*PageSize)), 0)
		}
		return nil
	})
}
