package container

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Random operations give the same results on a table and a Go map, for sizes that are multiples of 8 and
// others.
func TestTableAgainstMap(t *testing.T) {
	testenv.NoLeaks(t)
	rounds := 20_000
	if testing.Short() {
		rounds = 2000
	}
	for _, opts := range []TableOptions{
		{KeySize: 8, ValueSize: 64, Capacity: 1000},
		{KeySize: 8, ValueSize: 64, Capacity: 1}, // long chains
		{KeySize: 1, ValueSize: 0, Capacity: 10},
		{KeySize: 13, ValueSize: 5, Capacity: 50},
		{KeySize: 3, ValueSize: 4096, Capacity: 100},
	} {
		t.Run(fmt.Sprintf("%+v", opts), func(t *testing.T) {
			h := newHeap(t, arena.Options{})
			tab, err := NewTable(h, "t", opts)
			if err != nil {
				t.Fatal(err)
			}
			before := used(t, h)
			m := mirror{tab, map[string]string{}}
			random := rand.New(rand.NewPCG(1, 2))
			for i := range rounds {
				key := make([]byte, opts.KeySize)
				key[0], key[opts.KeySize-1] = byte(random.IntN(20)), byte(random.IntN(50))
				m.do(t, random.IntN(5), key, bytes.Repeat([]byte{byte(i)}, opts.ValueSize))
			}
			m.empty(t)
			if now := used(t, h); now != before {
				t.Errorf("%d bytes in use, %d at first", now, before)
			}
		})
	}
}

// mirror holds a table and a Go map with the same contents.
type mirror struct {
	table *Table
	want  map[string]string
}

// do does one of five operations on the table and the map, and compares the results.
func (m mirror) do(t *testing.T, op int, key, value []byte) {
	t.Helper()
	old, there := m.want[string(key)]
	switch op {
	case 0:
		got := make([]byte, m.table.ValueSize())
		err := m.table.Lookup(key, got)
		if there && (err != nil || string(got) != old) || !there && !errors.Is(err, ErrNotFound) {
			t.Fatalf("lookup of %x: %x, %v; want %x", key, got, err, old)
		}
	case 1:
		if err := m.table.Put(key, value, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
		m.want[string(key)] = string(value)
	case 2:
		err := m.table.Put(key, value, ebpf.UpdateNoExist)
		if there != errors.Is(err, ErrExists) || !there && err != nil {
			t.Fatalf("put of %x, which is there %t: %v", key, there, err)
		}
		if !there {
			m.want[string(key)] = string(value)
		}
	case 3:
		err := m.table.Update(key, ebpf.UpdateExist, func(now []byte, was bool) {
			if string(now) != old || !was {
				t.Errorf("update of %x: from %x, %t; want %x", key, now, was, old)
			}
			copy(now, value)
		})
		if there == errors.Is(err, ErrNotFound) || there && err != nil {
			t.Fatalf("update of %x, which is there %t: %v", key, there, err)
		}
		if there {
			m.want[string(key)] = string(value)
		}
	case 4:
		if err := m.table.Delete(key); there == errors.Is(err, ErrNotFound) || there && err != nil {
			t.Fatalf("delete of %x, which is there %t: %v", key, there, err)
		}
		delete(m.want, string(key))
	}
}

// empty compares the contents of the table and the map, and deletes all keys of the table.
func (m mirror) empty(t *testing.T) {
	t.Helper()
	got := map[string]string{}
	for e, err := range m.table.All() {
		if err != nil {
			t.Fatal(err)
		}
		got[string(e.Key)] = string(e.Value)
	}
	if n, _ := m.table.Len(); n != len(m.want) || len(got) != len(m.want) {
		t.Errorf("%d keys, walked over %d, want %d", n, len(got), len(m.want))
	}
	for k, v := range m.want {
		if got[k] != v {
			t.Errorf("%x: %x, want %x", k, got[k], v)
		}
		if err := m.table.Delete([]byte(k)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTableRefused(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	before := used(t, h)
	for _, opts := range []TableOptions{
		{}, {KeySize: 8}, {KeySize: maxTableBytes + 1, Capacity: 1}, {KeySize: 8, ValueSize: -1, Capacity: 1},
		{KeySize: 8, ValueSize: maxTableBytes + 1, Capacity: 1}, {KeySize: 8, Capacity: maxTableCapacity + 1},
	} {
		if _, err := NewTable(h, "t", opts); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	if _, err := NewTable(h, "t", TableOptions{KeySize: 8, Capacity: 1 << 20}); !errors.Is(err, ErrFull) {
		t.Errorf("larger than the arena: %v", err)
	}
	if _, err := NewTable(h, strings.Repeat("x", 32), TableOptions{KeySize: 8, Capacity: 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long name: %v", err)
	}
	if now := used(t, h); now != before {
		t.Errorf("%d bytes are left in use", now-before)
	}
	tab, err := NewTable(h, "t", TableOptions{KeySize: 8, ValueSize: 8, Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewTable(h, "t", TableOptions{KeySize: 8, Capacity: 1}); !errors.Is(err, ErrExists) {
		t.Errorf("the same name: %v", err)
	}
	b := make([]byte, 9)
	for what, err := range map[string]error{
		"lookup": tab.Lookup(b, b[:8]), "value": tab.Lookup(b[:8], b), "put": tab.Put(b[:8], b, ebpf.UpdateAny),
		"update": tab.Update(b, ebpf.UpdateAny, nil), "delete": tab.Delete(b),
	} {
		if !errors.Is(err, errSize) {
			t.Errorf("%s with a wrong size: %v", what, err)
		}
	}
}

// A table in a full heap refuses new keys, and keeps the keys that it has.
func TestTableInFullHeap(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: arenamem.HeadSize + max(16<<10, arenamem.PageSize)})
	tab, err := NewTable(h, "t", TableOptions{KeySize: 2, ValueSize: 200, Capacity: 50})
	if err != nil {
		t.Fatal(err)
	}
	key := func(i int) []byte { return []byte{byte(i), byte(i >> 8)} }
	value := make([]byte, 200)
	n := 0
	for ; ; n++ {
		value[0] = byte(n)
		err := tab.Put(key(n), value, ebpf.UpdateAny)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || n > int(h.a.Size())/len(value) {
			t.Fatalf("key %d: %v", n, err)
		}
	}
	for i := range n {
		if err := tab.Lookup(key(i), value); err != nil || value[0] != byte(i) {
			t.Errorf("key %d: %d, %v", i, value[0], err)
		}
	}
	if err := tab.Lookup(key(n), value); !errors.Is(err, ErrNotFound) {
		t.Errorf("the key for which there was no room: %v", err)
	}
	left := n
	for round := 0; left > 0 && round < n; round++ {
		for i := range n {
			// Deleting a key behind others needs a block: try again after other keys were deleted.
			if err := tab.Delete(key(i)); err == nil {
				left--
			} else if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
	}
	if left != 0 {
		t.Errorf("%d of %d keys could not be deleted", left, n)
	}
}

func benchmarkTable(b *testing.B, keys int) (*Table, []byte) {
	h := newHeap(b, arena.Options{Size: 1 << 30})
	tab, err := NewTable(h, "t", TableOptions{KeySize: 8, ValueSize: 64, Capacity: keys})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 64)
	for i := range keys {
		if err := tab.Put(stormKey(uint64(i)), value, ebpf.UpdateNoExist); err != nil {
			b.Fatal(err)
		}
	}
	// Store the random keys in one slice: reading them in sequence is cheap.
	order := make([]byte, 0, 8*keys)
	for range keys {
		order = append(order, stormKey(rand.Uint64N(uint64(keys)))...)
	}
	return tab, order
}

func BenchmarkTable(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		tab, order := benchmarkTable(b, keys)
		value := make([]byte, 64)
		b.Run(fmt.Sprintf("lookup in %d", keys), func(b *testing.B) {
			for i := 0; b.Loop(); i = (i + 8) % len(order) {
				if err := tab.Lookup(order[i:i+8], value); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("put in %d", keys), func(b *testing.B) {
			for i := 0; b.Loop(); i = (i + 8) % len(order) {
				if err := tab.Put(order[i:i+8], value, ebpf.UpdateAny); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("update in %d", keys), func(b *testing.B) {
			for i := 0; b.Loop(); i = (i + 8) % len(order) {
				if err := tab.Update(order[i:i+8], ebpf.UpdateAny, func(now []byte, _ bool) { now[0]++ }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The same lookup without an arena needs a system call for each key.
func BenchmarkMapLookup(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("lookup in %d", keys), func(b *testing.B) {
			m := testenv.Map(b, &ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 64, MaxEntries: uint32(keys)})
			value := make([]byte, 64)
			for i := range keys {
				if err := m.Put(stormKey(uint64(i)), value); err != nil {
					b.Fatal(err)
				}
			}
			order := make([]uint64, keys)
			for i := range order {
				order[i] = rand.Uint64N(uint64(keys))
			}
			// The system call alone, without cilium/ebpf around it.
			var attr struct {
				fd         uint32
				_          uint32
				key, value unsafe.Pointer
				flags      uint64
			}
			attr.fd, attr.value = uint32(m.FD()), unsafe.Pointer(&value[0])
			for i := 0; b.Loop(); i = (i + 1) % len(order) {
				attr.key = unsafe.Pointer(&order[i])
				if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_LOOKUP_ELEM, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); errno != 0 {
					b.Fatal(errno)
				}
			}
		})
	}
}
