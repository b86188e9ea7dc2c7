package consumer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// During a pass another Reader consumes the next records, and a payload that looks like headers is
// written over them. The records that the pass yields are whole, and the pass leaves the consumer
// position at the beginning of a record.
func TestPassOfASharedReaderThatIsOvertaken(t *testing.T) {
	testenv.NoLeaks(t)
	m := newMemory(t, uint64(testenv.PageSize))
	const span = 48
	count := (m.Size - 8) / span // the ring is full
	produce := func(payload []byte) {
		pos := *m.ProducerPos()
		m.put(pos+ring.HeaderSize, payload)
		m.setHeader(pos, uint32(len(payload)))
		*m.ProducerPos() = pos + ring.Span(uint32(len(payload)))
	}
	for i := range count {
		produce(bytes.Repeat([]byte{byte(i)}, span-ring.HeaderSize))
	}
	next := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, 100), 18)

	a, b := m.shared(t), m.shared(t)
	overtaken := false
	check := func(rec Record) {
		t.Helper()
		want := bytes.Repeat([]byte{byte(rec.Pos / span)}, span-ring.HeaderSize)
		if rec.Pos == count*span {
			want = next
		}
		if !bytes.Equal(rec.Data, want) {
			t.Fatalf("record at position %d: %x", rec.Pos, rec.Data)
		}
	}
	for rec := range a.Pass(0) {
		check(rec)
		if overtaken {
			continue
		}
		overtaken = true
		for rec := range b.Pass(2) {
			check(rec)
		}
		produce(next)
	}
	for range 2 {
		for rec := range a.Pass(0) {
			check(rec)
		}
		if err := a.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if cons, prod := a.mem.ConsumerPos(), a.mem.ProducerPos(); cons != prod {
		t.Errorf("consumer position %d, producer position %d", cons, prod)
	}
}

// Read touches nothing of the ring after Close has unmapped it.
func TestCloseOfASharedReaderThatReads(t *testing.T) {
	testenv.NoLeaks(t)
	m := newMemory(t, uint64(testenv.PageSize))
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		r := m.shared(t)
		reading := make(chan struct{})
		done := make(chan error)
		go func() {
			close(reading)
			for {
				if _, err := r.TryRead(); err != ErrEmpty {
					done <- err
					return
				}
			}
		}()
		<-reading
		r.Close()
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Fatalf("TryRead() = %v", err)
		}
	}
}
