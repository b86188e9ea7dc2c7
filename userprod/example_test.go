package userprod_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/userprod"
)

// Any goroutine may write; a ring of another process is refused.
func Example() {
	commands, err := ebpf.LoadPinnedMap("/sys/fs/bpf/commands", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer commands.Close()
	p, err := userprod.New(commands, userprod.Options{})
	if busy, ok := errors.AsType[*userprod.BusyError](err); ok {
		fmt.Println("produced into by process", busy.PID)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := p.Reserve(ctx, 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	binary.NativeEndian.PutUint64(s.Bytes(), 1)
	binary.NativeEndian.PutUint64(s.Bytes()[8:], 42)
	if err := s.Commit(); err != nil {
		fmt.Println(err)
	}
}

// Each number is a sample of its own, published at once.
func ExampleBatch_Samples() {
	count := func(ctx context.Context, p *userprod.Producer, n uint64) error {
		b, err := p.Batch(ctx)
		if err != nil {
			return err
		}
		defer b.End()
		for room := range b.Samples(ctx, 8, 1) {
			if n == 0 {
				break
			}
			binary.NativeEndian.PutUint64(room, n)
			n--
		}
		return b.Err()
	}
	_ = count
}

// Structs without pointers are written as they lie in memory.
func ExampleWriteAll() {
	type event struct{ ID, Value uint64 }
	send := func(ctx context.Context, p *userprod.Producer, events []event) error {
		_, err := userprod.WriteAll(ctx, p, events)
		return err
	}
	_ = send
}
