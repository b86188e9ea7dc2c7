package container_test

import (
	"encoding/binary"
	"fmt"
	"log"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
)

// A process that makes a table and one that finds it would do this in turn.
func ExampleTable() {
	a, err := arena.Create(arena.Options{Name: "sessions", Size: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	h, err := container.Format(a)
	if err != nil {
		log.Fatal(err)
	}
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
	value := make([]byte, 8)
	if err := t.Lookup([]byte("home"), value); err != nil {
		log.Fatal(err)
	}
	fmt.Println(binary.LittleEndian.Uint64(value))
}
