package userprod_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/userprod"
)

// open returns a new user ring buffer and a Producer for it.
func open() (*ebpf.Map, *userprod.Producer) {
	commands, err := ebpf.NewMap(&ebpf.MapSpec{Name: "commands", Type: ebpf.UserRingbuf, MaxEntries: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	p, err := userprod.New(commands, userprod.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return commands, p
}

// drained returns the samples that a program in the kernel drains from the ring.
func drained(commands *ebpf.Map) (samples [][]byte) {
	target, err := ebpf.NewMap(&ebpf.MapSpec{Name: "target", Type: ebpf.RingBuf, MaxEntries: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer target.Close()
	d, err := drain.Load(commands, drain.Options{To: target})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Run(drain.RunOptions{}); err != nil {
		log.Fatal(err)
	}
	r, err := consumer.NewReader(target, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for {
		rec, err := r.TryRead()
		if errors.Is(err, consumer.ErrEmpty) {
			return samples
		}
		if err != nil {
			log.Fatal(err)
		}
		samples = append(samples, rec.Data)
	}
}

// Write copies one sample into the ring, and waits while the ring is full. The program that drains
// the ring gets the samples in order.
func ExampleProducer_Write() {
	commands, p := open() // a map of type UserRingbuf, and userprod.New(commands, userprod.Options{})
	defer commands.Close()
	defer p.Close()

	for _, command := range []string{"watch", "ignore"} {
		if err := p.Write(context.Background(), []byte(command)); err != nil {
			log.Fatal(err)
		}
	}
	for _, sample := range drained(commands) {
		fmt.Printf("%s\n", sample)
	}
	// Output:
	// watch
	// ignore
}

// Reserve returns memory of the ring to fill in place.
func ExampleProducer_Reserve() {
	commands, p := open()
	defer commands.Close()
	defer p.Close()

	s, err := p.Reserve(context.Background(), 16)
	if err != nil {
		log.Fatal(err)
	}
	binary.NativeEndian.PutUint64(s.Bytes(), 1)
	binary.NativeEndian.PutUint64(s.Bytes()[8:], 42)
	if err := s.Commit(); err != nil { // or Discard
		log.Fatal(err)
	}
	for _, sample := range drained(commands) {
		fmt.Println(binary.NativeEndian.Uint64(sample), binary.NativeEndian.Uint64(sample[8:]))
	}
	// Output: 1 42
}

// TryWrite fails if the ring is full; Write would wait.
func ExampleProducer_TryWrite() {
	commands, p := open()
	defer commands.Close()
	defer p.Close()

	written := 0
	for {
		err := p.TryWrite(make([]byte, 1016)) // 1024 bytes with its header
		if errors.Is(err, userprod.ErrFull) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		written++
	}
	fmt.Println(written, "samples fit")
	// Output: 64 samples fit
}

// A Batch with Samples is the cheapest way to write many samples of one size.
func ExampleBatch_Samples() {
	commands, p := open()
	defer commands.Close()
	defer p.Close()
	ctx := context.Background()

	b, err := p.Batch(ctx)
	if err != nil {
		log.Fatal(err)
	}
	n := uint64(0)
	for room := range b.Samples(ctx, 8, 1) {
		if n == 3 {
			break // drops the current sample
		}
		binary.NativeEndian.PutUint64(room, n)
		n++
	}
	if err := errors.Join(b.Err(), b.End()); err != nil {
		log.Fatal(err)
	}
	for _, sample := range drained(commands) {
		fmt.Println(binary.NativeEndian.Uint64(sample))
	}
	// Output:
	// 0
	// 1
	// 2
}

// WriteAll writes each struct as one sample, with the bytes that it has in memory. The structs must
// not contain pointers.
func ExampleWriteAll() {
	commands, p := open()
	defer commands.Close()
	defer p.Close()

	type event struct{ ID, Value uint32 }
	n, err := userprod.WriteAll(context.Background(), p, []event{{1, 10}, {2, 20}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "written,", len(drained(commands)), "drained")
	// Output: 2 written, 2 drained
}

// A ring has one producer: a second New fails.
func ExampleBusyError() {
	commands, p := open()
	defer commands.Close()
	defer p.Close()

	_, err := userprod.New(commands, userprod.Options{})
	fmt.Println(errors.Is(err, userprod.ErrBusy))
	// Output: true
}
