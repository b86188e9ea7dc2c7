package arenamem

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

// Whatever word another process writes over one of a structure, every operation gives an error
// or a result: none dies of a page that is not allocated.
func TestEveryWordLeadsToAnAbsentPage(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, Options{SegvOnFault: true})
	absent := 0
	for at := 0; at < len(v.mem); at += 8 {
		if binary.LittleEndian.Uint64(v.good[at:]) == 0 && at >= headPages*int(pageSize) {
			continue // not in use
		}
		for kind := range byte(2) {
			v.mend(t)
			v.damage(hostileWord(at, 4+kind, rand.Uint64()))
			v.check(t)
			for _, err := range v.use() {
				if errors.Is(err, ErrAbsent) {
					absent++
				}
			}
		}
	}
	if absent == 0 {
		t.Error("no operation came to an absent page")
	}
}

// A program may free any page under what lies there.
func TestEveryPageIsFreed(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, Options{SegvOnFault: true})
	a := v.h.a
	for off := uint64(0); off < uint64(len(v.mem)); off += pageSize {
		at := Ptr[byte](a.base + off)
		if err := a.FreePages(at, 1); err != nil {
			t.Fatal(err)
		}
		// The heap that was opened before, and then what opens it anew.
		if _, err := v.h.Stats(); off < headPages*pageSize && !errors.Is(err, ErrAbsent) {
			t.Errorf("page at %#x is freed: %v", off, err)
		}
		v.useHeap(v.h, func(error) {})
		v.check(t)
		if err := a.present(off, pageSize); err != nil {
			t.Fatal(err)
		}
		v.mend(t)
	}
}

// An absent page behind the head of a free list is found once: the list is given up, and
// the next allocation succeeds.
func TestFreeListThatLeadsToAnAbsentPage(t *testing.T) {
	testenv.NoLeaks(t)
	h := newVictim(t, Options{SegvOnFault: true}).h
	c := classOf(1000 + headerSize)
	h.class(c).head.Store(uint64(uint32(h.a.base + h.a.size - pageSize)))
	if _, err := h.Alloc(1000); !errors.Is(err, ErrAbsent) {
		t.Errorf("allocate from it: %v", err)
	}
	if _, err := h.Alloc(1000); err != nil {
		t.Errorf("allocate again: %v", err)
	}
	if st, err := h.Stats(); st.Corrupt != 1 || err != nil {
		t.Errorf("%d free lists were given up, %v", st.Corrupt, err)
	}
}

// A change that comes to an absent page gives its blocks back.
func TestAbsentPageInATable(t *testing.T) {
	testenv.NoLeaks(t)
	h := newVictim(t, Options{SegvOnFault: true}).h
	tab, err := NewTable(h, "t", TableOptions{KeySize: 8, ValueSize: 8, Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	before := used(t, h)
	for i := range tab.buckets {
		tab.buckets[i].Store(uint64(uint32(h.a.base + h.a.size - pageSize)))
	}
	key, value := stormKey(1), make([]byte, 8)
	for what, err := range map[string]error{
		"lookup": tab.Lookup(key, value), "put": tab.Put(key, value, Any), "delete": tab.Delete(key),
		"update": tab.Update(key, Any, func([]byte, bool) { t.Error("called back") }),
	} {
		if !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range tab.All() {
		if !errors.Is(err, ErrAbsent) {
			t.Errorf("walk: %v", err)
		}
	}
	if now := used(t, h); now != before {
		t.Errorf("%d bytes in use, %d before", now, before)
	}
}

// A fault of a caller's function, in an iterator's body or a callback, stays the caller's.
func TestFaultsOfCallersAreTheirs(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, Options{SegvOnFault: true})
	h := v.h
	l, err := OpenList(h, "list")
	if err != nil {
		t.Fatal(err)
	}
	tab, err := OpenTable(h, "table")
	if err != nil {
		t.Fatal(err)
	}
	fault := func() {
		if debug.SetPanicOnFault(false) {
			t.Error("it runs under the guard")
		}
		var nowhere *uint64
		*nowhere = 1
	}
	tests := []struct {
		rule string
		call func()
	}{
		{"in the body of Nodes", func() {
			for range Nodes[numbered](l) {
				fault()
			}
		}},
		{"in the body of List.All", func() {
			for range l.All() {
				fault()
			}
		}},
		{"in the body of Table.All", func() {
			for range tab.All() {
				fault()
			}
		}},
		{"in Update", func() {
			_ = tab.Update(stormKey(1), Any, func([]byte, bool) { fault() })
		}},
		{"in Guard, outside the arena", func() {
			_ = h.a.Guard(func() error {
				var nowhere *uint64
				*nowhere = 1
				return nil
			})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("the fault was swallowed")
				}
				if debug.SetPanicOnFault(false) {
					t.Error("the guard is still on")
				}
			}()
			tt.call()
		})
	}
}

func init() {
	// Writes hostile words and frees pages until its input ends.
	helpers["hostile"] = func(a *Arena, in *bufio.Reader) error {
		over := make(chan struct{})
		go func() { in.ReadByte(); close(over) }()
		v := victim{h: &Heap{a: a}}
		present := headPages*pageSize + growAhead
		mem, err := a.Bytes(Ptr[byte](a.base), present)
		if err != nil {
			return err
		}
		v.mem, v.good = mem, make([]byte, present)
		if err := a.Peek(Ptr[byte](a.base), v.good); err != nil {
			return err
		}
		fmt.Println("begins")
		for i := 0; ; i++ {
			select {
			case <-over:
				return nil
			default:
			}
			word := hostileWord(rand.IntN(int(present)), byte(rand.IntN(6)), rand.Uint64())
			// A page that this process freed is absent for it too.
			if err := a.Guard(func() error { v.damage(word); return nil }); err != nil && !errors.Is(err, ErrAbsent) {
				return err
			}
			page := Ptr[byte](a.base + rand.Uint64N(present/pageSize)*pageSize)
			switch i % 64 {
			case 0:
				if testenv.Race {
					continue // its atomics look at the page first, and die where it goes after that
				}
				if err := a.FreePages(page, 1); err != nil {
					return err
				}
			case 32:
				if err := a.present(0, present); err != nil && !errors.Is(err, ErrAbsent) {
					return err
				}
			case 33:
				_ = a.Guard(func() error { copy(v.mem, v.good); return nil })
			}
		}
	}
}

// A process goes on writing hostile words and freeing pages while this one works.
func TestHostileNeighbour(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, Options{SegvOnFault: true})
	q := startHelper(t, "hostile", v.h.a)
	q.line()
	rounds := 0
	for deadline := time.Now().Add(howLong(t, "RBTOOL_ARENA_STORM", 500*time.Millisecond, 3*time.Second)); time.Now().Before(deadline); {
		v.check(t)
		v.useHeap(v.h, func(error) {})
		rounds++
	}
	q.finish()
	t.Logf("%d rounds", rounds)
}
