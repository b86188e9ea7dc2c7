package arena_test

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

// accessor runs the programs peek, poke and store_pointer of package arenatest.
type accessor struct {
	tb testing.TB
	c  *loader.Collection
}

func newAccessor(tb testing.TB, a *arena.Arena) accessor {
	tb.Helper()
	return accessor{tb, arenatest.Load(tb, arenatest.Spec(tb, "peek", "poke", "store_pointer"), a)}
}

func (x accessor) do(program string, addr, value uint64) uint64 {
	x.tb.Helper()
	c := arenatest.Access{Addr: addr, Value: value}
	arenatest.Run(x.tb, x.c.Programs[program], ebpf.RunOptions{Context: &c, ContextOut: &c})
	return c.Value
}

func TestAbsentPages(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{SegvOnFault: true})
	x := newAccessor(t, a)
	addr := a.Base() + 2*arenamem.PageSize
	p := arena.Ptr[uint64](addr)

	x.do("poke", addr, 1)
	if got := x.do("peek", addr, 99); got != 0 {
		t.Errorf("a program wrote to an absent page and reads %d", got)
	}
	if _, err := p.Load(a); !errors.Is(err, arena.ErrAbsent) {
		t.Errorf("load of an absent page: %v", err)
	}
	if err := p.Store(a, 1); !errors.Is(err, arena.ErrAbsent) {
		t.Errorf("store to an absent page: %v", err)
	}
	got, err := a.AllocPages(arena.Ptr[byte](addr), 1)
	if err != nil || uint64(got) != addr {
		t.Fatalf("allocated %#x, %v", got, err)
	}
	if _, err := a.AllocPages(arena.Ptr[byte](addr), 1); !errors.Is(err, arena.ErrFull) {
		t.Errorf("allocated twice: %v", err)
	}
	x.do("poke", addr, 5)
	if v, err := p.Load(a); v != 5 || err != nil {
		t.Errorf("a program wrote 5, load gives %d, %v", v, err)
	}
	if err := p.Store(a, 6); err != nil || x.do("peek", addr, 0) != 6 {
		t.Errorf("a program does not see the stored value: %v", err)
	}
	if err := a.FreePages(arena.Ptr[byte](addr), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Load(a); !errors.Is(err, arena.ErrAbsent) {
		t.Errorf("load of a freed page: %v", err)
	}
}

// Without SEGV_ON_FAULT, an access from user space allocates a page of zeros.
func TestTouchAllocates(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{})
	x := newAccessor(t, a)
	addr := a.Base() + 5*arenamem.PageSize
	p := arena.Ptr[uint64](addr)
	x.do("poke", addr, 1)
	if v, err := p.Load(a); v != 0 || err != nil {
		t.Errorf("load of an absent page: %d, %v", v, err)
	}
	x.do("poke", addr, 2)
	if v, err := p.Load(a); v != 2 || err != nil {
		t.Errorf("the page is there, load gives %d, %v", v, err)
	}
	if err := a.FreePages(arena.Ptr[byte](addr), 1); err != nil {
		t.Fatal(err)
	}
	if got := x.do("peek", addr, 9); got != 0 {
		t.Errorf("a program reads %d in a freed page", got)
	}
	if v, err := p.Load(a); v != 0 || err != nil {
		t.Errorf("load of a fresh page: %d, %v", v, err)
	}
}

// Peek allocates no page: all pages are still absent after it.
func TestPeekAllocatesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{SegvOnFault: true, Size: 8 * arenamem.PageSize})
	buf := make([]byte, a.Size())
	if err := a.Peek(arena.Ptr[byte](a.Base()), buf); err != nil {
		t.Fatal(err)
	}
	for page := range a.Size() / arenamem.PageSize {
		if _, err := arena.Ptr[byte](a.Base() + page*arenamem.PageSize).Load(a); !errors.Is(err, arena.ErrAbsent) {
			t.Fatalf("page %d: %v", page, err)
		}
	}
}

func TestStoredPointers(t *testing.T) {
	for _, noUserConv := range []bool{false, true} {
		testenv.NoLeaks(t)
		a := arenatest.New(t, arena.Options{NoUserConv: noUserConv})
		x := newAccessor(t, a)
		addr := a.Base() + arenamem.PageSize + 64
		p := arena.Ptr[arena.Ptr[uint64]](addr)
		at, err := p.In(a)
		if err != nil {
			t.Fatal(err)
		}
		*at = 0 // allocates the page
		x.do("store_pointer", addr, 0)
		if short := uint64(*at)>>32 == 0; short != noUserConv {
			t.Errorf("NO_USER_CONV %t: stored %#x", noUserConv, *at)
		}
		to, err := at.In(a)
		if err != nil || *to != uint64(*at) {
			t.Errorf("NO_USER_CONV %t: the pointer %#x leads to %v, %v", noUserConv, *at, to, err)
		}
	}
}

// Page 0 can be used like other pages. If the base is a multiple of 4 GiB, a program's pointer to byte 0
// is the same as NULL.
func TestPageZero(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{})
	x := newAccessor(t, a)
	arenatest.FirstPage(t, a)
	x.do("poke", a.Base(), 3)
	if v, err := arena.Ptr[uint64](a.Base()).Load(a); v != 3 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
	if got := x.do("peek", 0, 0); got != 3 {
		t.Errorf("a program reads %d through NULL", got)
	}
}
