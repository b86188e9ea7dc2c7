package pin_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/pin"
)

// Pin a ring, so that it outlives the process that created it, and open it by its path.
func Example() {
	dir, err := os.MkdirTemp("/sys/fs/bpf", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app", "events") // Map creates the directory app

	events, err := ebpf.NewMap(&ebpf.MapSpec{Name: "events", Type: ebpf.RingBuf, MaxEntries: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	if err := pin.Map(events, path, pin.Options{Mode: 0o660}); err != nil {
		log.Fatal(err)
	}
	events.Close()

	opened, err := pin.Open(path, ebpf.RingBuf)
	if err != nil {
		log.Fatal(err)
	}
	defer opened.Close()
	fmt.Println("opened a map of", opened.MaxEntries(), "bytes")

	_, err = pin.Open(path, ebpf.UserRingbuf)
	fmt.Println("wrong type:", errors.Is(err, pin.ErrWrongType))

	for entry, err := range pin.Walk(dir) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Kind, entry.Name, entry.Type, entry.Mode)
	}
	if err := pin.Remove(path); err != nil {
		log.Fatal(err)
	}
	// Output:
	// opened a map of 65536 bytes
	// wrong type: true
	// map events RingBuf -rw-rw----
}
