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
		same bool // rec.Data is in the same memory as before the call
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
	m := testenv.Ring(t, testenv.PageSize)
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
	for range r.Pass(0) {
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	check(ended, context.Canceled)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	check(t.Context(), os.ErrClosed)
}

// A Reader and an Observer of the same ring read a record that is ready although ctx is done.
func TestARecordComesBeforeTheEndOfContext(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	run(t, p, ten)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	o, err := consumer.NewObserver(m, consumer.ObserverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	r := reader(t, m, consumer.Options{Timer: -1})
	for name, read := range map[string]func(context.Context) (consumer.Record, error){"Observer": o.Read, "Reader": r.Read} {
		for n := range uint64(10) {
			rec, err := read(ended)
			if err != nil {
				t.Fatalf("%s: record %d: %v", name, n, err)
			}
			if got := seq(t, rec); got != n {
				t.Errorf("%s: record %d, want %d", name, got, n)
			}
		}
		if _, err := read(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: behind the last record: %v", name, err)
		}
	}
}

func TestTryRead(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	o, err := consumer.NewObserver(m, consumer.ObserverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	r := reader(t, m, consumer.Options{Timer: -1})
	tries := map[string]func() (consumer.Record, error){"Observer": o.TryRead, "Reader": r.TryRead}
	check := func(when string, records ...uint64) {
		t.Helper()
		for name, try := range tries {
			for _, n := range records {
				rec, err := try()
				if err != nil {
					t.Fatalf("%s, %s: record %d: %v", when, name, n, err)
				}
				if got := seq(t, rec); got != n {
					t.Errorf("%s, %s: record %d, want %d", when, name, got, n)
				}
			}
			if rec, err := try(); err != consumer.ErrEmpty || rec.Data != nil {
				t.Errorf("%s, %s: behind the last record: %v, %v", when, name, rec, err)
			}
		}
	}
	check("an empty ring")
	run(t, p, ten)
	check("ten records", from(0, 10)...)
	if s := stats(t, r); s.Backlog != 0 {
		t.Errorf("an empty ring is not published: %+v", s)
	}
	h := hold(t, p, 10)
	check("a BUSY record")
	if err := h.Commit(); err != nil {
		t.Fatal(err)
	}
	check("its commit", 10)
	o.Close()
	r.Close()
	for name, try := range tries {
		if _, err := try(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: after Close: %v", name, err)
		}
	}
}

// Remaining does not include records that were read and not published.
func TestRemaining(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 64<<10)
	p := load(t, m)
	r := reader(t, m, consumer.Options{Timer: -1})
	run(t, p, ten) // 24 bytes each
	for n := range uint64(10) {
		if _, err := r.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := stats(t, r)
		if want := 24 * (9 - n); r.Remaining() != want || s.Unread != want {
			t.Errorf("after record %d: %d bytes remain, %d are unread, want %d", n, r.Remaining(), s.Unread, want)
		}
	}
}
