package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
)

// victim is an arena with one of each structure, for a test to damage. Its last pages are absent.
type victim struct {
	h    *Heap
	mem  []byte // the present pages
	good []byte // a copy of mem before any damage
	node arena.Ptr[byte]
}

func newVictim(tb testing.TB, opts arena.Options) *victim {
	tb.Helper()
	opts.Size = 40 * arenamem.PageSize
	h := newHeap(tb, opts)
	l, err := NewList(h, "list")
	if err != nil {
		tb.Fatal(err)
	}
	v := &victim{h: h}
	for range 5 {
		p, _, err := New[numbered](h)
		if err != nil {
			tb.Fatal(err)
		}
		v.node = arena.Ptr[byte](p)
		if err := l.Push(arena.Ptr[Link](p)); err != nil {
			tb.Fatal(err)
		}
	}
	tab, err := NewTable(h, "table", TableOptions{KeySize: 8, ValueSize: 24, Capacity: 8})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range uint64(20) {
		if err := tab.Put(stormKey(i), make([]byte, 24), ebpf.UpdateAny); err != nil {
			tb.Fatal(err)
		}
	}
	q, err := NewQueue(h, "queue", 4)
	if err != nil {
		tb.Fatal(err)
	}
	for range 2 {
		if err := q.Put(v.node); err != nil {
			tb.Fatal(err)
		}
	}
	kv, err := NewKV(h, "kv", 2)
	if err != nil {
		tb.Fatal(err)
	}
	if err := kv.Put("key", []byte("value")); err != nil {
		tb.Fatal(err)
	}
	present := h.h.Super.Present
	if present > h.a.Size()-2*arenamem.PageSize {
		tb.Fatalf("%d bytes are present, the arena has %d", present, h.a.Size())
	}
	if v.mem, err = h.a.Bytes(arena.Ptr[byte](h.a.Base()), present); err != nil {
		tb.Fatal(err)
	}
	v.good = bytes.Clone(v.mem)
	return v
}

// mend undoes all damage.
func (v *victim) mend(tb testing.TB) {
	tb.Helper()
	a, present := v.h.a, uint64(len(v.mem))
	if arenamem.Of(a).SegvOnFault() {
		if err := a.FreePages(arena.Ptr[byte](a.Base()+present), (a.Size()-present)/arenamem.PageSize); err != nil {
			tb.Fatal(err)
		}
	}
	copy(v.mem, v.good)
}

// damage overwrites words of the arena. Each 11 bytes of data overwrite one word: 2 bytes select its
// place, 1 byte the kind of the new word, and 8 bytes its value.
func (v *victim) damage(data []byte) {
	a := v.h.a
	for ; len(data) >= 11; data = data[11:] {
		at := 8 * (uint64(binary.LittleEndian.Uint16(data)) % uint64(len(v.mem)/8))
		word := binary.LittleEndian.Uint64(data[3:])
		switch data[2] % 6 {
		case 1: // a reference into the arena, with a tag
			word = word>>32<<32 | uint64(uint32(a.Base())+uint32(word)%uint32(a.Size())&^7)
		case 2: // an address in the arena
			word = a.Base() + word%a.Size()
		case 3: // another word of the arena
			word = binary.LittleEndian.Uint64(v.good[word%uint64(len(v.good)-8):])
		case 4: // a reference to a page that is absent in an arena with SegvOnFault
			word = word>>32<<32 | uint64(uint32(a.Base()+a.Size()-arenamem.PageSize)+uint32(word)%uint32(arenamem.PageSize)&^7)
		case 5: // an address in such a page
			word = a.Base() + a.Size() - arenamem.PageSize + word%arenamem.PageSize&^7
		}
		binary.LittleEndian.PutUint64(v.mem[at:], word)
	}
}

// use runs every operation, and returns all errors.
func (v *victim) use() (errs []error) {
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := arenamem.Of(v.h.a).Formatted(); err != nil {
		note(err)
	}
	h, err := OpenHeap(v.h.a)
	note(err)
	if err != nil {
		_, err = Format(v.h.a)
		note(err)
		return errs
	}
	_, err = h.h.Stats()
	note(err)
	v.useHeap(h, note)
	v.useList(h, note)
	v.useQueue(h, note)
	v.useTable(h, note)
	v.useKV(h, note)
	return errs
}

func (v *victim) useHeap(h *Heap, note func(error)) {
	_, err := h.Roots()
	note(err)
	_, err = h.h.Requested(uint64(v.node))
	note(err)
	note(h.Free(v.node))
	note(h.Grow(h.h.Start + arenamem.PageSize))
	var blocks []arena.Ptr[byte]
	for n := uint64(1); n < 4096; n *= 2 {
		p, err := h.Alloc(n)
		note(err)
		if err == nil {
			b, err := h.a.Bytes(p, n)
			note(err)
			note(h.a.Guard(func() error { clear(b); return nil }))
			blocks = append(blocks, p)
		}
	}
	for _, p := range blocks {
		note(h.Free(p))
	}
}

func (v *victim) useList(h *Heap, note func(error)) {
	l, err := OpenList(h, "list")
	if err != nil {
		note(err)
		return
	}
	for _, err := range l.All() {
		note(err)
	}
	sum := uint64(0)
	// Guard the loop: another process may free pages.
	note(h.a.Guard(func() error {
		for n, err := range Nodes[numbered](l) {
			if err != nil {
				return err
			}
			sum += n.Number
		}
		return nil
	}))
	p, err := l.Pop()
	note(err)
	if err == nil {
		note(l.Push(p))
	}
	l, err = NewList(h, "another list")
	if err != nil {
		note(err)
		return
	}
	note(l.Push(arena.Ptr[Link](v.node)))
}

func (v *victim) useQueue(h *Heap, note func(error)) {
	q, err := OpenQueue(h, "queue")
	if err != nil {
		note(err)
		return
	}
	for range 3 {
		_, err := q.Take()
		note(err)
		note(q.Put(v.node))
	}
}

func (v *victim) useTable(h *Heap, note func(error)) {
	t, err := OpenTable(h, "table")
	if err != nil {
		note(err)
		return
	}
	for _, err := range t.All() {
		note(err)
	}
	_, err = t.Len()
	note(err)
	key, value := make([]byte, t.KeySize()), make([]byte, t.ValueSize())
	for i := range byte(22) {
		key[0] = i
		note(t.Lookup(key, value))
		note(t.Put(key, value, ebpf.UpdateAny))
		note(t.Update(key, ebpf.UpdateAny, func(value []byte, _ bool) { clear(value) }))
		if i%2 == 0 {
			note(t.Delete(key))
		}
	}
}

func (v *victim) useKV(h *Heap, note func(error)) {
	kv, err := OpenKV(h, "kv")
	if err != nil {
		note(err)
		return
	}
	_, err = kv.Get("key")
	note(err)
	note(kv.Put("another", []byte("value")))
	note(kv.Delete("another"))
}

// check calls use, and checks that all errors are known and that it takes no longer than tooLong.
func (v *victim) check(tb testing.TB) {
	tb.Helper()
	began := time.Now()
	for _, err := range v.use() {
		known := false
		for _, is := range []error{ErrFormat, ErrCorrupt, ErrFull, ErrTooLarge, ErrNotAllocated, ErrNotFound, ErrExists, ErrContended, ErrEmpty, arena.ErrPointer, arena.ErrAbsent} {
			known = known || errors.Is(err, is)
		}
		if !known {
			tb.Errorf("unknown error %v", err)
		}
	}
	if d := time.Since(began); d > tooLong {
		tb.Errorf("it took %s", d)
	}
}

// tooLong is more time than all bounded loops of use take together.
const tooLong = 20 * time.Second

// Whatever the arena contains, no operation faults, loops forever or panics, and all errors are known.
func FuzzDamagedArena(f *testing.F) {
	victims := []*victim{newVictim(f, arena.Options{}), newVictim(f, arena.Options{SegvOnFault: true})}
	for _, v := range victims {
		if errs := v.use(); len(errs) != 2 { // ErrNotFound for the last two keys of useTable
			f.Fatalf("undamaged: %v", errs)
		}
		v.mend(f)
	}
	// Seeds: each nonzero word in turn is replaced by all ones, a reference, an address, another word of
	// the arena, a reference to an absent page, an address in an absent page.
	for at := 0; at < len(victims[0].good); at += wordsApart() {
		if binary.LittleEndian.Uint64(victims[0].good[at:]) != 0 {
			f.Add(hostileWord(at, 0, ^uint64(0)))
			for kind := range byte(5) {
				f.Add(hostileWord(at, kind+1, uint64(at)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, v := range victims {
			v.mend(t)
			v.damage(data)
			v.check(t)
		}
	})
}

// hostileWord returns data that makes damage overwrite the word at offset at.
func hostileWord(at int, kind byte, value uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(binary.LittleEndian.AppendUint16(nil, uint16(at/8)), kind), value)
}
