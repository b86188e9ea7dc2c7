package drain_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/userprod"
)

// A sample that a process writes into a user ring becomes a record of a ring.
func Example() {
	user, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer user.Close()
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()

	d, err := drain.Load(user, drain.Options{To: ring})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	producer, err := userprod.New(user, userprod.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	reader, err := consumer.NewReader(ring, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()

	if err := producer.TryWrite([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	result, err := d.Run(drain.RunOptions{})
	if err != nil {
		log.Fatal(err)
	}
	record, err := reader.Read(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d sample, %d bytes: %s\n", result.Samples, result.Bytes, record.Data)
	// Output:
	// 1 sample, 5 bytes: hello
}
