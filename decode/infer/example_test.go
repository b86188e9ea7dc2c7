package infer_test

import (
	"fmt"
	"log"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode/infer"
)

// Find the type of a ring's records from the program that produces them.
func Example() {
	spec, err := ebpf.LoadCollectionSpec("testdata/foreign_bpfel.o")
	if err != nil {
		log.Fatal(err)
	}
	var objects struct {
		Program *ebpf.Program `ebpf:"argument"`
		Ring    *ebpf.Map     `ebpf:"by_argument"`
	}
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		log.Fatal(err)
	}
	defer objects.Program.Close()
	defer objects.Ring.Close()

	found, err := infer.Of(objects.Ring, infer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found.Certainty, found.Set)
	fmt.Println(found.Why)
	// Output:
	// certain passed
	// passed (certain: it is passed to fill as e)
}
