package consumer_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestReadIntoKeepsItsMemory(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 64<<10)
	p, r := load(t, m), reader(t, m, consumer.Options{})
	rec := consumer.Record{Data: make([]byte, 0, 100)}
	first := unsafe.SliceData(rec.Data)
	tests := []struct {
		rule string
		size uint32
		same bool // the memory is that of the record before
	}{
		{"a record that fits", 40, true},
		{"a shorter one", 8, true},
		{"one that fills the capacity", 100, true},
		{"one that does not fit", 101, false},
		{"a long one", 30_000, false},
		{"a short one in the memory of the long one", 9, true},
		{"one without bytes", 0, true},
		{"one after it", 5000, true},
	}
	for seq, tt := range tests {
		run(t, p, producer.Job{Op: producer.Output, Size: tt.size, Count: 1, Seq: uint64(seq)})
		if err := r.ReadInto(t.Context(), &rec); err != nil {
			t.Fatal(err)
		}
		if len(rec.Data) != int(tt.size) {
			t.Errorf("%s: %d bytes, want %d", tt.rule, len(rec.Data), tt.size)
		}
		if err := producer.Verify(uint64(seq), rec.Data); err != nil {
			t.Errorf("%s: %v", tt.rule, err)
		}
		now := unsafe.SliceData(rec.Data)
		if same := now == first; same != tt.same {
			t.Errorf("%s: in the memory of the record before: %t, want %t", tt.rule, same, tt.same)
		}
		first = now
	}
}

func TestReadIntoAllocatesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 64<<10)
	p, r := load(t, m), reader(t, m, consumer.Options{})
	const runs = 1000
	run(t, p, producer.Job{Op: producer.Output, MaxSize: 40, Count: runs + 1})
	rec := consumer.Record{Data: make([]byte, 0, 40)}
	allocs := testing.AllocsPerRun(runs, func() {
		if err := r.ReadInto(t.Context(), &rec); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a record", allocs)
	}
}

func TestReadIntoLeavesTheRecordWhenItFails(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 4096)
	p, r := load(t, m), reader(t, m, consumer.Options{})
	run(t, p, ten)
	var rec consumer.Record
	for range 2 {
		if err := r.ReadInto(t.Context(), &rec); err != nil {
			t.Fatal(err)
		}
	}
	check := func(ctx context.Context, want error) {
		t.Helper()
		if err := r.ReadInto(ctx, &rec); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
		if got := seq(t, rec); got != 1 {
			t.Errorf("record %d, want 1", got)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	check(ended, context.Canceled)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	check(t.Context(), os.ErrClosed)
}
