package loader_test

import (
	"fmt"
	"log"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/loader"
)

// The program's object, compiled from globals.bpf.c, declares variables in the arena:
//
//	__u64 __arena number = 42;
//	__u64 __arena numbers[3] = { 1, 2, 3 };
const object = "../../internal/bpftest/arenatest/globals_bpfel.o"

// NewCollection loads a program with variables in an arena that the caller created.
func ExampleNewCollection() {
	spec, err := loader.LoadCollectionSpec(object)
	if err != nil {
		log.Fatal(err)
	}
	a, err := arena.Create(arena.Options{Name: "example", Size: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()

	// The object's arena map is named "arena" by bpf/headers/arena.h.
	c, err := loader.NewCollection(spec, loader.Options{Arenas: map[string]*arena.Arena{"arena": a}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	// The program does number += numbers[1].
	if _, err := c.Programs["globals"].Run(&ebpf.RunOptions{}); err != nil {
		log.Fatal(err)
	}
	number, err := arena.Ptr[uint64](c.Globals["number"]).Load(a)
	fmt.Println(number, err)
	// Output: 44 <nil>
}
