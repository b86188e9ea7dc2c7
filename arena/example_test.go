package arena_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/rbtool/rbtool/arena"
)

// point mirrors a C struct: struct point { __u64 x, y; struct point __arena *next; }.
type point struct {
	X, Y uint64
	Next arena.Ptr[point]
}

// A pointer in an arena is an address that programs and processes share. In checks it and returns a
// Go pointer into the mapping.
func ExamplePtr() {
	a, err := arena.Create(arena.Options{Name: "points", Size: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()

	first := arena.Ptr[point](a.Base())
	second := first + 24 // bytes
	p, err := first.In(a)
	if err != nil {
		log.Fatal(err)
	}
	*p = point{X: 1, Y: 2, Next: second}
	next, err := p.Next.In(a)
	if err != nil {
		log.Fatal(err)
	}
	next.X = 3
	fmt.Println(p.Next == second, next.X, next.Next == 0)

	_, err = (first - 8).In(a)
	fmt.Println(errors.Is(err, arena.ErrPointer))
	// Output:
	// true 3 true
	// true
}

// In an arena with SegvOnFault, an access to a page that is not allocated faults.
func ExampleArena_Guard() {
	a, err := arena.Create(arena.Options{Name: "sparse", Size: 1 << 20, SegvOnFault: true})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()

	at := arena.Ptr[byte](a.Base())
	word, err := arena.Ptr[uint64](at).In(a) // checks the address, not the page
	if err != nil {
		log.Fatal(err)
	}
	count := func() error { *word++; return nil }
	fmt.Println(errors.Is(a.Guard(count), arena.ErrAbsent))

	if _, err := a.AllocPages(at, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(a.Guard(count), *word)
	// Output:
	// true
	// <nil> 1
}

// Peek reads an arena without allocating its pages.
func ExampleArena_Peek() {
	a, err := arena.Create(arena.Options{Name: "fresh", Size: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()

	head := make([]byte, 16)
	if err := a.Peek(arena.Ptr[byte](a.Base()), head); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%x\n", head)
	// Output: 00000000000000000000000000000000
}
