package arenamem

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

// accessor runs peek, poke and store_pointer.
type accessor struct {
	tb testing.TB
	c  *Collection
}

func newAccessor(tb testing.TB, a *Arena) accessor {
	tb.Helper()
	return accessor{tb, load(tb, testSpec(tb, "peek", "poke", "store_pointer"), a)}
}

func (x accessor) do(program string, addr, value uint64) uint64 {
	x.tb.Helper()
	c := arenatest.Access{Addr: addr, Value: value}
	run(x.tb, x.c.Programs[program], ebpf.RunOptions{Context: &c, ContextOut: &c})
	return c.Value
}

func TestAbsentPages(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{SegvOnFault: true})
	x := newAccessor(t, a)
	addr := a.Base() + 2*pageSize
	p := Ptr[uint64](addr)

	x.do("poke", addr, 1)
	if got := x.do("peek", addr, 99); got != 0 {
		t.Errorf("a program wrote to an absent page and reads %d", got)
	}
	if _, err := p.Load(a); !errors.Is(err, ErrAbsent) {
		t.Errorf("load of an absent page: %v", err)
	}
	if err := p.Store(a, 1); !errors.Is(err, ErrAbsent) {
		t.Errorf("store to an absent page: %v", err)
	}
	got, err := a.AllocPages(Ptr[byte](addr), 1)
	if err != nil || uint64(got) != addr {
		t.Fatalf("allocated %#x, %v", got, err)
	}
	if _, err := a.AllocPages(Ptr[byte](addr), 1); !errors.Is(err, ErrFull) {
		t.Errorf("allocated twice: %v", err)
	}
	x.do("poke", addr, 5)
	if v, err := p.Load(a); v != 5 || err != nil {
		t.Errorf("a program wrote 5, load gives %d, %v", v, err)
	}
	if err := p.Store(a, 6); err != nil || x.do("peek", addr, 0) != 6 {
		t.Errorf("a program does not see what was stored: %v", err)
	}
	if err := a.FreePages(Ptr[byte](addr), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Load(a); !errors.Is(err, ErrAbsent) {
		t.Errorf("load of a freed page: %v", err)
	}
}

// Without SEGV_ON_FAULT a touch allocates a page of zeros.
func TestTouchAllocates(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{})
	x := newAccessor(t, a)
	addr := a.Base() + 5*pageSize
	p := Ptr[uint64](addr)
	x.do("poke", addr, 1)
	if v, err := p.Load(a); v != 0 || err != nil {
		t.Errorf("load of an absent page: %d, %v", v, err)
	}
	x.do("poke", addr, 2)
	if v, err := p.Load(a); v != 2 || err != nil {
		t.Errorf("the page is there, load gives %d, %v", v, err)
	}
	if err := a.FreePages(Ptr[byte](addr), 1); err != nil {
		t.Fatal(err)
	}
	if got := x.do("peek", addr, 9); got != 0 {
		t.Errorf("a program reads %d in a freed page", got)
	}
	if v, err := p.Load(a); v != 0 || err != nil {
		t.Errorf("load of a fresh page: %d, %v", v, err)
	}
}

// What is looked at with Peek is still absent afterwards.
func TestPeekAllocatesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{SegvOnFault: true, Size: 8 * pageSize})
	buf := make([]byte, a.Size())
	if err := a.Peek(Ptr[byte](a.Base()), buf); err != nil {
		t.Fatal(err)
	}
	for page := range a.Size() / pageSize {
		if _, err := Ptr[byte](a.Base() + page*pageSize).Load(a); !errors.Is(err, ErrAbsent) {
			t.Fatalf("page %d: %v", page, err)
		}
	}
}

func TestStoredPointers(t *testing.T) {
	for _, noUserConv := range []bool{false, true} {
		testenv.NoLeaks(t)
		a := newArena(t, Options{NoUserConv: noUserConv})
		x := newAccessor(t, a)
		addr := a.Base() + pageSize + 64
		p := Ptr[Ptr[uint64]](addr)
		at, err := p.In(a) // and the page is present
		if err != nil {
			t.Fatal(err)
		}
		*at = 0
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

// Page 0 is like the others, though programs cannot tell its address from NULL when the
// base is a multiple of 4 GiB.
func TestPageZero(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{})
	x := newAccessor(t, a)
	firstPage(t, a)
	x.do("poke", a.Base(), 3)
	if v, err := Ptr[uint64](a.Base()).Load(a); v != 3 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
	if got := x.do("peek", 0, 0); got != 3 {
		t.Errorf("a program reads %d through NULL", got)
	}
}
