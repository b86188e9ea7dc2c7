package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
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

// Records waits for records until its context is done. The records lie in the ring: copy what must
// outlive the loop body.
func ExampleReader_Records() {
	events := ringWith("alpha", "beta") // a map of type RingBuf
	defer events.Close()

	r, err := consumer.NewReader(events, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for rec, err := range r.Records(ctx) {
		if errors.Is(err, context.DeadlineExceeded) {
			fmt.Println("no more records")
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s at %d\n", rec.Data, rec.Pos)
	}
	// Output:
	// alpha at 0
	// beta at 16
	// no more records
}

// Pass reads the records that are in the ring now, without waiting. Leaving the loop at a record
// keeps that record and later ones in the ring.
func ExampleReader_Pass() {
	events := ringWith("alpha", "beta", "gamma")
	defer events.Close()
	r, err := consumer.NewReader(events, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	for rec := range r.Pass(0) {
		if string(rec.Data) == "beta" {
			break
		}
		fmt.Printf("%s\n", rec.Data)
	}
	fmt.Println("later")
	for rec := range r.Pass(0) {
		fmt.Printf("%s\n", rec.Data)
	}
	if err := r.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// alpha
	// later
	// beta
	// gamma
}

// TryRead returns a copy of the next record and never waits; Read waits.
func ExampleReader_TryRead() {
	events := ringWith("alpha")
	defer events.Close()
	r, err := consumer.NewReader(events, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	for {
		rec, err := r.TryRead()
		if errors.Is(err, consumer.ErrEmpty) {
			fmt.Println("empty")
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", rec.Data)
	}
	// Output:
	// alpha
	// empty
}

// Opening a ring claims it: a second Reader would take records away from the first.
func ExampleBusyError() {
	events := ringWith()
	defer events.Close()
	r, err := consumer.NewReader(events, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	_, err = consumer.NewReader(events, consumer.Options{})
	fmt.Println(errors.Is(err, consumer.ErrBusy))
	// Output: true
}

// A Group reads many rings on one goroutine. Each record says which ring it is from.
func ExampleGroup() {
	rings := []*ebpf.Map{ringWith("alpha", "beta"), ringWith("gamma")} // for example, one per CPU
	for _, m := range rings {
		defer m.Close()
	}
	g, err := consumer.NewGroup(rings, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	for rec := range g.Pass(0) {
		fmt.Printf("ring %d: %s\n", rec.Ring, rec.Data)
	}
	if err := g.Err(); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// ring 0: alpha
	// ring 0: beta
	// ring 1: gamma
}

// An Observer reads records and leaves them to the consumer of the ring.
func ExampleObserver() {
	events := ringWith("alpha")
	defer events.Close()
	r, err := consumer.NewReader(events, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	o, err := consumer.NewObserver(events, consumer.ObserverOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()

	for rec := range o.Pass(0) {
		fmt.Printf("observed %s\n", rec.Data)
	}
	for rec := range r.Pass(0) {
		fmt.Printf("consumed %s\n", rec.Data)
	}
	// Output:
	// observed alpha
	// consumed alpha
}
