package main

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/userprod"
)

// The samples, one type for each size. The first word of a sample is its number.
type (
	sample16  [2]uint64
	sample64  [8]uint64
	sample256 [32]uint64
)

// writer writes the samples with numbers from seq to end-1 with one of the methods of package
// userprod.
type writer func(p *userprod.Producer, seq, end uint64) error

// userWriters returns the writers of samples of type T by their names in requests.
func userWriters[T any]() map[string]writer {
	return map[string]writer{
		"samples/1":  func(p *userprod.Producer, seq, end uint64) error { return writeSamples[T](p, seq, end, 1) },
		"samples/64": func(p *userprod.Producer, seq, end uint64) error { return writeSamples[T](p, seq, end, userBatch) },
		"next/1":     func(p *userprod.Producer, seq, end uint64) error { return writeBatch[T](p, seq, end, 1) },
		"next/64":    func(p *userprod.Producer, seq, end uint64) error { return writeBatch[T](p, seq, end, userBatch) },
		"bulk":       writeBulk[T],
		"write":      writeCopies[T],
		"reserve":    writeReserved[T],
	}
}

// writersOf has the writers by the size of a sample in bytes and by their names in requests.
var writersOf = map[uint64]map[string]writer{
	16:  userWriters[sample16](),
	64:  userWriters[sample64](),
	256: userWriters[sample256](),
}

// number stores seq as the number of sample v.
//
// SAFETY: every T is an array of uint64.
func number[T any](v *T, seq uint64) { *(*uint64)(unsafe.Pointer(v)) = seq }

// put copies v into room, whose size is that of T, and then stores seq as the number there. Storing
// seq in v before the copy would be slow: the copy would load v right after the store.
//
// SAFETY: the room has T's size and begins at a multiple of 8.
func put[T any](room []byte, v T, seq uint64) {
	to := (*T)(unsafe.Pointer(unsafe.SliceData(room)))
	*to = v
	number(to, seq)
}

// writeBatch writes the samples with a Batch, and publishes each group of together samples at once.
func writeBatch[T any](p *userprod.Producer, seq, end, together uint64) error {
	var v T
	size := int(unsafe.Sizeof(v))
	b, err := p.Batch(context.Background())
	if err != nil {
		return err
	}
	defer b.End()
	for seq < end {
		for range together {
			room, err := b.TryNext(size)
			if err != nil {
				return err
			}
			put(room, v, seq)
			seq++
		}
		if err := b.Publish(); err != nil {
			return err
		}
	}
	return b.End()
}

// writeSamples writes the samples in a loop over Batch.Samples, which publishes together samples at
// once.
func writeSamples[T any](p *userprod.Producer, seq, end uint64, together int) error {
	var v T
	b, err := p.Batch(context.Background())
	if err != nil {
		return err
	}
	defer b.End()
	for room := range b.Samples(context.Background(), int(unsafe.Sizeof(v)), together) {
		if seq == end {
			break
		}
		put(room, v, seq)
		seq++
	}
	if b.Err() != nil {
		return b.Err()
	}
	return b.End()
}

func writeBulk[T any](p *userprod.Producer, seq, end uint64) error {
	var values [userBatch]T
	for seq < end {
		// The loop is unrolled four times: otherwise its speed depends on the alignment of its
		// code.
		for i := 0; i < len(values); i += 4 {
			number(&values[i], seq)
			number(&values[i+1], seq+1)
			number(&values[i+2], seq+2)
			number(&values[i+3], seq+3)
			seq += 4
		}
		if _, err := userprod.TryWriteAll(p, values[:]); err != nil {
			return err
		}
	}
	return nil
}

func writeCopies[T any](p *userprod.Producer, seq, end uint64) error {
	var v T
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))
	for ; seq < end; seq++ {
		number(&v, seq)
		if err := p.TryWrite(bytes); err != nil {
			return err
		}
	}
	return nil
}

func writeReserved[T any](p *userprod.Producer, seq, end uint64) error {
	var v T
	size := int(unsafe.Sizeof(v))
	for ; seq < end; seq++ {
		s, err := p.TryReserve(size)
		if err != nil {
			return err
		}
		put(s.Bytes(), v, seq)
		if err := s.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// openUserRing opens the ring and the drain program of a request. The first argument of the request
// is the ring's id, the third the program's.
func openUserRing(req *harness.Request) (*userprod.Producer, *ebpf.Program, error) {
	m, err := openRing(req)
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(req.Number(2)))
	if err != nil {
		return nil, nil, fmt.Errorf("open drain program: %w", err)
	}
	p, err := userprod.New(m, userprod.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, prog.Close())
	}
	return p, prog, nil
}

// drainAll runs the drain program, and returns an error if it did not drain n samples.
func drainAll(prog *ebpf.Program, n uint64) error {
	got, err := syscall.TestRun(prog)
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if uint64(got) != n {
		return fmt.Errorf("drained %d samples, want %d", int32(got), n)
	}
	return nil
}

// peerUserring serves the request "userring MAP WAY PROGRAM PASSES SAMPLES SIZE" in the Go peer.
func peerUserring(req *harness.Request) ([]uint64, error) {
	write := writersOf[req.Number(5)][req.Word(1)]
	if write == nil {
		return nil, fmt.Errorf("unknown writer %q for samples of %d bytes", req.Word(1), req.Number(5))
	}
	p, prog, err := openUserRing(req)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	defer prog.Close()
	var writing, draining time.Duration
	passes, n := req.Number(3), req.Number(4)
	for seq := uint64(0); seq < passes*n; seq += n {
		start := time.Now()
		err := write(p, seq, seq+n)
		written := time.Now()
		if err == nil {
			err = drainAll(prog, n)
		}
		if err != nil {
			return nil, err
		}
		writing += written.Sub(start)
		draining += time.Since(written)
	}
	return []uint64{uint64(writing), uint64(draining)}, req.Err()
}
