package arenamem

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/arenapages"
)

// pageSize is the kernel's, in bytes.
var pageSize = uint64(os.Getpagesize())

// grower holds the programs that work on an arena's pages.
type grower struct{ c *Collection }

// programs loads the programs when they are first needed.
func (a *Arena) programs() (*grower, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.size == 0 {
		return nil, a.pointerError(0, 0, 1)
	}
	if a.grow == nil {
		spec, err := arenapages.Spec()
		if err != nil {
			return nil, err
		}
		c, err := LoadCollection(spec, LoadOptions{Arenas: map[string]*Arena{arenapages.Arena: a}, NoVariables: true})
		if err != nil {
			return nil, err
		}
		a.grow = &grower{c}
	}
	return a.grow, nil
}

func (g *grower) close() error {
	g.c.Close()
	return nil
}

func (g *grower) run(program string, context any) error {
	ret, err := g.c.Programs[program].Run(&ebpf.RunOptions{Context: context, ContextOut: context})
	if err == nil && ret != 0 {
		err = unix.Errno(-int32(ret))
	}
	return err
}

// AllocPages allocates n pages at the address p, or anywhere when p is nil, for
// arenas that have no heap. Pages that are allocated already, in the way or too few give
// [ErrFull]. It runs a program: about a microsecond, and more for the pages.
func (a *Arena) AllocPages(p Ptr[byte], n uint64) (Ptr[byte], error) {
	if p != 0 && (uint64(p)%pageSize != 0 || a.offsetOf(uint64(p)) >= a.size) {
		return 0, fmt.Errorf("allocate pages: %w", a.pointerError(uint64(p), pageSize, pageSize))
	}
	if n == 0 || n > a.size/pageSize {
		return 0, fmt.Errorf("allocate pages: %w: %d pages", ErrTooLarge, n)
	}
	g, err := a.programs()
	if err != nil {
		return 0, fmt.Errorf("allocate pages: %w", err)
	}
	r := arenapages.Range{Addr: uint64(p), Count: n}
	if err := g.run(arenapages.AllocPages, &r); err != nil {
		return 0, fmt.Errorf("allocate pages: %w", err)
	}
	if r.Result == 0 {
		return 0, fmt.Errorf("allocate %d pages at %#x: %w", n, uint64(p), ErrFull)
	}
	return Ptr[byte](a.base + a.offsetOf(r.Result)), nil
}

// FreePages gives n pages from p on back to the kernel. Who touches them in user space
// gets new ones, or a fault.
func (a *Arena) FreePages(p Ptr[byte], n uint64) error {
	if off := a.offsetOf(uint64(p)); p == 0 || off%pageSize != 0 || off >= a.size || n > (a.size-off)/pageSize {
		return fmt.Errorf("free pages: %w", a.pointerError(uint64(p), n*pageSize, pageSize))
	}
	g, err := a.programs()
	if err != nil {
		return fmt.Errorf("free pages: %w", err)
	}
	if err := g.run(arenapages.FreePages, &arenapages.Range{Addr: uint64(p), Count: n}); err != nil {
		return fmt.Errorf("free pages: %w", err)
	}
	return nil
}

// Peek copies the len(buf) bytes at p, which is a multiple of 8, without allocating the pages
// that they lie in: what is absent is 0. Programs do the copying: a microsecond for
// 4 KiB.
func (a *Arena) Peek(p Ptr[byte], buf []byte) error {
	if _, err := a.Bytes(p, uint64(len(buf))); err != nil {
		return fmt.Errorf("peek: %w", err)
	}
	if uint64(p)%8 != 0 {
		return fmt.Errorf("peek: %w: %#x is not a multiple of 8", ErrPointer, uint64(p))
	}
	g, err := a.programs()
	if err != nil {
		return fmt.Errorf("peek: %w", err)
	}
	var c arenapages.Copy
	for len(buf) > 0 {
		c.Addr = uint64(p)
		if err := g.run(arenapages.CopyOut, &c); err != nil {
			return fmt.Errorf("peek: %w", err)
		}
		// SAFETY: the bytes of the array.
		n := copy(buf, unsafe.Slice((*byte)(unsafe.Pointer(&c.Data)), unsafe.Sizeof(c.Data)))
		buf, p = buf[n:], p+Ptr[byte](n)
	}
	return nil
}

// present makes sure that the pages of n bytes from off on are allocated.
func (a *Arena) present(off, n uint64) error {
	first, end := off/pageSize, (off+n+pageSize-1)/pageSize
	if !a.SegvOnFault() {
		return a.touch(first, end)
	}
	g, err := a.programs()
	if err != nil {
		return err
	}
	for page := first; page < end; page++ {
		// One that is allocated already is refused, so each is asked for alone.
		r := arenapages.Range{Addr: a.base + page*pageSize, Count: 1}
		if err := g.run(arenapages.AllocPages, &r); err != nil {
			return err
		}
	}
	return a.touch(first, end) // says whether they are all there
}

// touch writes to pages without changing them: others may use them already.
func (a *Arena) touch(first, end uint64) error {
	return a.Guard(func() error {
		for page := first; page < end; page++ {
			// SAFETY: the caller gives pages of the arena.
			atomic.AddUint64((*uint64)(unsafe.Add(a.mem, page*pageSize)), 0)
		}
		return nil
	})
}
