package inspect_test

import (
	"fmt"
	"log"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

// Describe a ring of this process. Positions is nil for arenas, and if the positions are unknown.
func ExampleOne() {
	events, err := ebpf.NewMap(&ebpf.MapSpec{Name: "events", Type: ebpf.RingBuf, MaxEntries: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	m, err := inspect.One(events, inspect.Options{SkipPrograms: true, SkipPins: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Name, m.Type, m.Bytes, "bytes")
	if p := m.Positions; p != nil {
		fmt.Printf("backlog %d bytes, %.0f%% full\n", p.Backlog, 100*p.Fill)
	}
	for _, u := range m.Users {
		if u.Self {
			fmt.Println("this process holds it:", u.Holds)
		}
	}
	// Output:
	// events RingBuf 65536 bytes
	// backlog 0 bytes, 0% full
	// this process holds it: true
}

// Find rings that lose data, or whose consumer does not move, with two samples.
func ExampleSampler() {
	s := inspect.NewSampler(inspect.SamplerOptions{Options: inspect.Options{SkipPrograms: true, SkipPins: true}})
	defer s.Close()
	for range 2 {
		report, err := s.Sample()
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range report.Maps {
			if f := m.Flow; f != nil && (f.StuckFor > 0 || f.Saturated > 0) {
				fmt.Println(m.Name, f.State, f.StuckFor, "full for", f.Saturated, "owned by", m.OwnerNames())
			}
		}
		time.Sleep(time.Second)
	}
}

// List the processes that consume a ring. They can use any library.
func ExampleUsers() {
	events, err := inspect.Lookup("name:events", ebpf.RingBuf)
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	usage, err := inspect.Users(events)
	if err != nil {
		log.Fatal(err)
	}
	for _, users := range usage.Users {
		for _, u := range users {
			if u.Consumes {
				fmt.Println(u.PID, u.Comm)
			}
		}
	}
}
