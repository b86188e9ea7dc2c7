package ringbuf_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer/ringbuf"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
)

// ringWith returns a ring that holds the given records, as a BPF program left them.
func ringWith(records ...string) *ebpf.Map {
	events, err := ebpf.NewMap(&ebpf.MapSpec{Name: "events", Type: ebpf.RingBuf, MaxEntries: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	if err := producer.Write(events, records...); err != nil {
		log.Fatal(err)
	}
	return events
}

// This is the loop of a program that was written for cilium/ebpf.
func Example() {
	events := ringWith("alpha", "beta") // a map of type RingBuf
	defer events.Close()

	rd, err := ringbuf.NewReader(events)
	if err != nil {
		log.Fatal(err)
	}
	defer rd.Close()

	rd.SetDeadline(time.Now().Add(100 * time.Millisecond))
	for {
		record, err := rd.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrClosed) {
			fmt.Println("done")
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s, %d bytes remain\n", record.RawSample, record.Remaining)
	}
	// Output:
	// alpha, 16 bytes remain
	// beta, 0 bytes remain
	// done
}

// Flush ends a loop after it has read the records that are in the ring.
func ExampleReader_Flush() {
	events := ringWith("alpha", "beta")
	defer events.Close()
	rd, err := ringbuf.NewReader(events)
	if err != nil {
		log.Fatal(err)
	}
	defer rd.Close()

	if err := rd.Flush(); err != nil {
		log.Fatal(err)
	}
	var record ringbuf.Record // ReadInto reuses its memory
	for {
		err := rd.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			fmt.Println("flushed")
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", record.RawSample)
	}
	// Output:
	// alpha
	// beta
	// flushed
}
