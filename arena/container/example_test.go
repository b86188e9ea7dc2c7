package container_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
)

// newHeap creates an arena with a heap. Another process opens the arena with arena.Open, and its heap
// with OpenHeap.
func newHeap() *container.Heap {
	a, err := arena.Create(arena.Options{Name: "example", Size: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	h, err := container.Format(a)
	if err != nil {
		log.Fatal(err)
	}
	return h
}

// A table of counters. Update loses no increment, even if others update the same key at once.
func ExampleTable() {
	h := newHeap()
	defer h.Arena().Close()
	t, err := container.NewTable(h, "hits", container.TableOptions{KeySize: 4, ValueSize: 8, Capacity: 1000})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		err := t.Update([]byte("home"), ebpf.UpdateAny, func(value []byte, _ bool) {
			binary.LittleEndian.PutUint64(value, binary.LittleEndian.Uint64(value)+1)
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	value := make([]byte, t.ValueSize())
	if err := t.Lookup([]byte("home"), value); err != nil {
		log.Fatal(err)
	}
	fmt.Println(binary.LittleEndian.Uint64(value))
	// Output: 3
}

// A KV is a table of byte strings. Get returns a copy of the value.
func ExampleKV() {
	h := newHeap()
	defer h.Arena().Close()
	kv, err := container.NewKV(h, "colours", 100)
	if err != nil {
		log.Fatal(err)
	}
	if err := kv.Put("sky", []byte("blue")); err != nil {
		log.Fatal(err)
	}
	colour, err := kv.Get("sky")
	fmt.Printf("%s %v\n", colour, err)

	_, err = kv.Get("sea")
	fmt.Println(errors.Is(err, container.ErrNotFound))
	// Output:
	// blue <nil>
	// true
}

// task is a node of a list. In C, its first member is a struct arena_link.
type task struct {
	container.Link
	PID uint64
}

// Nodes walks a list without copying.
func ExampleNodes() {
	h := newHeap()
	defer h.Arena().Close()
	tasks, err := container.NewList(h, "tasks")
	if err != nil {
		log.Fatal(err)
	}
	for pid := range uint64(3) {
		p, t, err := container.New[task](h)
		if err != nil {
			log.Fatal(err)
		}
		t.PID = pid
		if err := tasks.Push(arena.Ptr[container.Link](p)); err != nil {
			log.Fatal(err)
		}
	}
	for t, err := range container.Nodes[task](tasks) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(t.PID)
	}
	// Output:
	// 2
	// 1
	// 0
}

// A queue carries pointers into the heap.
func ExampleQueue() {
	h := newHeap()
	defer h.Arena().Close()
	q, err := container.NewQueue(h, "jobs", 8)
	if err != nil {
		log.Fatal(err)
	}
	job, number, err := container.New[uint64](h)
	if err != nil {
		log.Fatal(err)
	}
	*number = 7
	if err := q.Put(arena.Ptr[byte](job)); err != nil {
		log.Fatal(err)
	}

	taken, err := q.Take()
	if err != nil {
		log.Fatal(err)
	}
	n, err := arena.Ptr[uint64](taken).Load(h.Arena())
	fmt.Println(n, err, h.Free(taken))
	_, err = q.Take()
	fmt.Println(errors.Is(err, container.ErrEmpty))
	// Output:
	// 7 <nil> <nil>
	// true
}

// A root gives memory of the heap a name, by which other processes and programs find it.
func ExampleHeap_AddRoot() {
	h := newHeap()
	defer h.Arena().Close()
	const settings = container.KindUser + 1 // a kind of this application
	p, limit, err := container.New[uint64](h)
	if err != nil {
		log.Fatal(err)
	}
	*limit = 100
	if _, err := h.AddRoot("settings", settings, arena.Ptr[byte](p)); err != nil {
		log.Fatal(err)
	}

	root, err := h.Root("settings", settings)
	if err != nil {
		log.Fatal(err)
	}
	n, err := arena.Ptr[uint64](root.Ptr).Load(h.Arena())
	fmt.Println(n, err)
	// Output: 100 <nil>
}
