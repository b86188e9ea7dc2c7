package container

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Each word of the structures in turn is made to lead to an absent page. Every operation returns a result
// or an error; none faults.
// wordsApart returns how far apart the words are that are damaged, in bytes: all of them but in guests.
func wordsApart() int {
	if testenv.InGuest() {
		return 7 * 8
	}
	return 8
}

func TestEveryWordLeadsToAnAbsentPage(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, arena.Options{SegvOnFault: true})
	absent := 0
	for at := 0; at < len(v.mem); at += wordsApart() {
		if binary.LittleEndian.Uint64(v.good[at:]) == 0 && at >= int(arenamem.HeadSize) {
			continue // the word is not in use
		}
		for kind := range byte(2) {
			v.mend(t)
			v.damage(hostileWord(at, 4+kind, rand.Uint64()))
			v.check(t)
			for _, err := range v.use() {
				if errors.Is(err, arena.ErrAbsent) {
					absent++
				}
			}
		}
	}
	if absent == 0 {
		t.Error("no operation found an absent page")
	}
}

// A program may free a page that a structure occupies: operations return errors, and do not fault.
func TestEveryPageIsFreed(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, arena.Options{SegvOnFault: true})
	a := v.h.a
	for off := uint64(0); off < uint64(len(v.mem)); off += arenamem.PageSize {
		at := arena.Ptr[byte](a.Base() + off)
		if err := a.FreePages(at, 1); err != nil {
			t.Fatal(err)
		}
		// First use the heap that was opened before the page was freed. check then opens it again.
		if _, err := v.h.h.Stats(); off < arenamem.HeadSize && !errors.Is(err, arena.ErrAbsent) {
			t.Errorf("page at %#x is freed: %v", off, err)
		}
		v.useHeap(v.h, func(error) {})
		v.check(t)
		if err := arenamem.Of(a).Present(off, arenamem.PageSize); err != nil {
			t.Fatal(err)
		}
		v.mend(t)
	}
}

// If the head of a free list leads to an absent page, one allocation fails and empties the list. The next
// allocation succeeds.
func TestFreeListThatLeadsToAnAbsentPage(t *testing.T) {
	testenv.NoLeaks(t)
	h := newVictim(t, arena.Options{SegvOnFault: true}).h
	c := arenamem.ClassOf(1000 + arenamem.HeaderSize)
	h.h.Class(c).Head.Store(uint64(uint32(h.a.Base() + h.a.Size() - arenamem.PageSize)))
	if _, err := h.Alloc(1000); !errors.Is(err, arena.ErrAbsent) {
		t.Errorf("allocate from it: %v", err)
	}
	if _, err := h.Alloc(1000); err != nil {
		t.Errorf("allocate again: %v", err)
	}
	if st, err := h.h.Stats(); st.Corrupt != 1 || err != nil {
		t.Errorf("%d free lists were given up, %v", st.Corrupt, err)
	}
}

// A change of a table that fails at an absent page frees the blocks that it allocated.
func TestAbsentPageInATable(t *testing.T) {
	testenv.NoLeaks(t)
	h := newVictim(t, arena.Options{SegvOnFault: true}).h
	tab, err := NewTable(h, "t", TableOptions{KeySize: 8, ValueSize: 8, Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	before := used(t, h)
	for i := range tab.buckets {
		tab.buckets[i].Store(uint64(uint32(h.a.Base() + h.a.Size() - arenamem.PageSize)))
	}
	key, value := stormKey(1), make([]byte, 8)
	for what, err := range map[string]error{
		"lookup": tab.Lookup(key, value), "put": tab.Put(key, value, ebpf.UpdateAny), "delete": tab.Delete(key),
		"update": tab.Update(key, ebpf.UpdateAny, func([]byte, bool) { t.Error("called back") }),
	} {
		if !errors.Is(err, arena.ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range tab.All() {
		if !errors.Is(err, arena.ErrAbsent) {
			t.Errorf("walk: %v", err)
		}
	}
	if now := used(t, h); now != before {
		t.Errorf("%d bytes in use, %d before", now, before)
	}
}

func storeToNil() {
	var nowhere *uint64
	*nowhere = 1
}

// A fault in the caller's code, such as a loop's body or a callback, panics. It does not become an error.
func TestFaultsOfCallersAreTheirs(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, arena.Options{SegvOnFault: true})
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
		storeToNil()
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
			_ = tab.Update(stormKey(1), ebpf.UpdateAny, func([]byte, bool) { fault() })
		}},
		{"in Guard, outside the arena", func() {
			_ = h.a.Guard(func() error { storeToNil(); return nil })
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

// hostileHelper is a helper process. It damages words of the arena and frees pages until its input ends.
func hostileHelper(a *arena.Arena, in *bufio.Reader) error {
	over := make(chan struct{})
	go func() { in.ReadByte(); close(over) }()
	v := victim{h: &Heap{a: a}}
	present := arenamem.HeadSize + arenamem.GrowAhead
	mem, err := a.Bytes(arena.Ptr[byte](a.Base()), present)
	if err != nil {
		return err
	}
	v.mem, v.good = mem, make([]byte, present)
	if err := a.Peek(arena.Ptr[byte](a.Base()), v.good); err != nil {
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
		// The word may be on a page that this process freed.
		if err := a.Guard(func() error { v.damage(word); return nil }); err != nil && !errors.Is(err, arena.ErrAbsent) {
			return err
		}
		page := arena.Ptr[byte](a.Base() + rand.Uint64N(present/arenamem.PageSize)*arenamem.PageSize)
		switch i % 64 {
		case 0:
			if testenv.Race {
				continue // the race detector's atomics crash if the page is freed meanwhile
			}
			if err := a.FreePages(page, 1); err != nil {
				return err
			}
		case 32:
			if err := arenamem.Of(a).Present(0, present); err != nil && !errors.Is(err, arena.ErrAbsent) {
				return err
			}
		case 33:
			_ = a.Guard(func() error { copy(v.mem, v.good); return nil })
		}
	}
}

// Another process damages words and frees pages while this process uses the arena.
func TestHostileNeighbour(t *testing.T) {
	testenv.NoLeaks(t)
	v := newVictim(t, arena.Options{SegvOnFault: true})
	q := arenatest.Start(t, "hostile", v.h.a)
	q.Line()
	rounds := 0
	for deadline := time.Now().Add(howLong(t, "RBTOOL_ARENA_STORM", 500*time.Millisecond, 3*time.Second)); time.Now().Before(deadline); {
		v.check(t)
		v.useHeap(v.h, func(error) {})
		rounds++
	}
	q.Finish()
	t.Logf("%d rounds", rounds)
}
