package arena

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// victim is an arena with one of everything, which a fuzz test damages.
type victim struct {
	h    *Heap
	mem  []byte
	good []byte // as it was
	node Ptr[byte]
}

func newVictim(tb testing.TB) *victim {
	tb.Helper()
	h := newHeap(tb, Options{Size: 16 * pageSize})
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
		v.node = Ptr[byte](p)
		if err := l.Push(Ptr[Link](p)); err != nil {
			tb.Fatal(err)
		}
	}
	tab, err := NewTable(h, "table", TableOptions{KeySize: 8, ValueSize: 24, Capacity: 8})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range uint64(20) {
		if err := tab.Put(stormKey(i), make([]byte, 24), Any); err != nil {
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
	if v.mem, err = h.a.Bytes(Ptr[byte](h.a.Base()), h.a.Size()); err != nil {
		tb.Fatal(err)
	}
	v.good = bytes.Clone(v.mem)
	return v
}

// damage writes words to places, both from data: 2 bytes for the place, 1 for a kind, 8 for
// the word.
func (v *victim) damage(data []byte) {
	copy(v.mem, v.good)
	for ; len(data) >= 11; data = data[11:] {
		at := 8 * (uint64(binary.LittleEndian.Uint16(data)) % (v.h.a.size / 8))
		word := binary.LittleEndian.Uint64(data[3:])
		switch data[2] % 4 {
		case 1: // a reference into the heap, with a tag
			word = word>>32<<32 | uint64(uint32(v.h.a.base)+uint32(word)%uint32(v.h.a.size)&^7)
		case 2: // an address in the heap
			word = v.h.a.base + word%v.h.a.size
		case 3: // a word from elsewhere in it
			word = binary.LittleEndian.Uint64(v.good[word%(v.h.a.size-8):])
		}
		binary.LittleEndian.PutUint64(v.mem[at:], word)
	}
}

// use does everything that there is to do. It returns all errors.
func (v *victim) use() (errs []error) {
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	h, err := v.h.a.Heap()
	note(err)
	if err != nil {
		return errs
	}
	_, err = h.Stats()
	note(err)
	_, err = h.Roots()
	note(err)
	note(h.Free(v.node))
	var blocks []Ptr[byte]
	for n := uint64(1); n < 4096; n *= 2 {
		p, err := h.Alloc(n)
		note(err)
		if err == nil {
			b, err := h.a.Bytes(p, n)
			note(err)
			clear(b)
			blocks = append(blocks, p)
		}
	}
	for _, p := range blocks {
		note(h.Free(p))
	}
	if l, err := OpenList(h, "list"); err != nil {
		note(err)
	} else {
		for _, err := range l.All() {
			note(err)
		}
		p, err := l.Pop()
		note(err)
		if err == nil {
			note(l.Push(p))
		}
	}
	if q, err := OpenQueue(h, "queue"); err != nil {
		note(err)
	} else {
		for range 3 {
			_, err := q.Take()
			note(err)
			note(q.Put(v.node))
		}
	}
	t, err := OpenTable(h, "table")
	if err != nil {
		note(err)
		return errs
	}
	for _, err := range t.All() {
		note(err)
	}
	key, value := make([]byte, t.KeySize()), make([]byte, t.ValueSize())
	for i := range byte(22) {
		key[0] = i
		note(t.Lookup(key, value))
		note(t.Put(key, value, Any))
		if i%2 == 0 {
			note(t.Delete(key))
		}
	}
	return errs
}

// tooLong is more than all loops of use take together, when nobody else runs.
const tooLong = 20 * time.Second

// Whatever lies in the arena, it is used without a fault, an endless loop or a panic,
// and errors are ones of this package.
func FuzzDamagedArena(f *testing.F) {
	v := newVictim(f)
	if errs := v.use(); len(errs) != 2 { // the last two keys are not there
		f.Fatalf("undamaged: %v", errs)
	}
	copy(v.mem, v.good)
	word := func(at int, kind byte, value uint64) []byte {
		return binary.LittleEndian.AppendUint64(append(binary.LittleEndian.AppendUint16(nil, uint16(at/8)), kind), value)
	}
	// Every word that is in use in turn: once all ones, once a reference, once an address.
	for at := 0; at < len(v.good); at += 8 {
		if binary.LittleEndian.Uint64(v.good[at:]) != 0 {
			f.Add(word(at, 0, ^uint64(0)))
			f.Add(word(at, 1, uint64(at)))
			f.Add(word(at, 2, uint64(at)))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v.damage(data)
		began := time.Now()
		for _, err := range v.use() {
			known := false
			for _, is := range []error{ErrFormat, ErrCorrupt, ErrFull, ErrTooLarge, ErrNotAllocated, ErrNotFound, ErrExists, ErrBusy, ErrEmpty, ErrPointer} {
				known = known || errors.Is(err, is)
			}
			if !known {
				t.Errorf("unknown error %v", err)
			}
		}
		if d := time.Since(began); d > tooLong {
			t.Errorf("it took %s", d)
		}
	})
}
