package userprod

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/userring"
)

// ways are all ways to write one sample.
var ways = []struct {
	name  string
	write func(ctx context.Context, p *Producer, n int, fill func([]byte)) error
}{
	{"Write", func(ctx context.Context, p *Producer, n int, fill func([]byte)) error {
		b := make([]byte, n)
		fill(b)
		return p.Write(ctx, b)
	}},
	{"Reserve", func(ctx context.Context, p *Producer, n int, fill func([]byte)) error {
		s, err := p.Reserve(ctx, n)
		if err != nil {
			return err
		}
		fill(s.Bytes())
		return s.Commit()
	}},
	{"Batch", func(ctx context.Context, p *Producer, n int, fill func([]byte)) error {
		b := begin(p)
		defer b.End()
		buf, err := b.Next(ctx, n)
		if err != nil {
			return err
		}
		fill(buf)
		return b.End()
	}},
}

func TestTheKernelSeesWhatIsWritten(t *testing.T) {
	for _, size := range []uint32{testenv.PageSize, 64 << 10} {
		for _, w := range ways {
			t.Run(w.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := userRing(t, size)
				p, c := producer(t, m, Options{}), checker(t, m, 1, 1<<14)
				seq := uint32(0)
				// Samples of all sizes are written, for several laps around the ring.
				for n := 0; n <= min(p.MaxSample(), usercheck.MaxSize); n += long(1, 13) {
					for _, n := range []int{n, n % 32} {
						err := w.write(t.Context(), p, n, func(b []byte) {
							if len(b) != n || cap(b) != n {
								t.Fatalf("%d bytes of room, %d with its capacity, want %d", len(b), cap(b), n)
							}
							usercheck.Fill(b, 0, seq)
						})
						if err != nil {
							t.Fatal(err)
						}
						if n >= usercheck.HeadSize {
							seq++
						}
						if got := drain(t, c); got != 1 {
							t.Fatalf("sample of %d bytes: %d came", n, got)
						}
					}
				}
				s := stats(t, p)
				if s.Free != uint64(size) || s.ConsumerPos != s.ProducerPos || s.Waits != 0 {
					t.Errorf("Stats() = %+v", s)
				}
			})
		}
	}
}

func TestResultsOfReserve(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	if p.MaxSample() != largest {
		t.Errorf("MaxSample() = %d", p.MaxSample())
	}
	for _, n := range []int{largest + 1, ringSize, 1 << 24, 1<<32 + 8, -1, -8, -1 << 63} {
		if _, err := p.TryReserve(n); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Reserve(%d): %v", n, err)
		}
	}
	if err := p.TryWrite(make([]byte, largest)); err != nil { // fills the ring up to the last byte
		t.Fatal(err)
	}
	if s := stats(t, p); s.Free != 0 {
		t.Errorf("Stats() = %+v of a full ring", s)
	}
	for _, n := range []int{0, 1, largest} {
		if _, err := p.TryReserve(n); err != ErrFull {
			t.Errorf("Reserve(%d) in a full ring: %v", n, err)
		}
		if err := p.TryWrite(make([]byte, n)); err != ErrFull {
			t.Errorf("TryWrite of %d bytes in a full ring: %v", n, err)
		}
	}
	if _, err := p.TryReserve(largest + 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a sample larger than the ring, in a full ring: %v", err)
	}
	drain(t, c)
	if _, err := p.TryReserve(0); err != nil {
		t.Errorf("Reserve(0) in a ring drained: %v", err)
	}
}

func TestLargestSampleOfALargeRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 64<<20)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	if p.MaxSample() != 1<<24-1 {
		t.Errorf("MaxSample() = %d", p.MaxSample())
	}
	b := begin(p)
	for range 3 {
		if _, err := b.TryNext(1<<24 - 1); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.TryNext(1 << 24)
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte more than a dynptr holds: %v", err)
	}
	if err := b.End(); err != nil {
		t.Fatal(err)
	}
	if n := drain(t, c); n != 3 {
		t.Errorf("%d of 3 samples came", n)
	}
}

func TestASampleIsDoneOnce(t *testing.T) {
	type act struct {
		name string
		do   func(Sample) error
	}
	acts := []act{{"Commit", Sample.Commit}, {"Discard", Sample.Discard}}
	for _, first := range acts {
		for _, second := range acts {
			t.Run(first.name+" "+second.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := userRing(t, testenv.PageSize)
				p, c := producer(t, m, Options{}), checker(t, m, 1, 1<<12)
				want := 0
				for seq := range uint32(1000) {
					s, err := p.TryReserve(usercheck.HeadSize)
					if err != nil {
						t.Fatal(err)
					}
					usercheck.Fill(s.Bytes(), 0, seq)
					again := s // a copy is the same sample
					if err := first.do(s); err != nil {
						t.Fatal(err)
					}
					if first.name == "Commit" {
						want++
					}
					if err := second.do(again); err != ErrDone {
						t.Fatalf("before it was drained: %v", err)
					}
					if seq%7 == 0 {
						drain(t, c)
					}
					if err := second.do(s); err != ErrDone {
						t.Fatalf("perhaps after it was drained: %v", err)
					}
				}
				drain(t, c)
				if n := counts(t, c); int(n.Samples) != want {
					t.Errorf("%d samples came, want %d", n.Samples, want)
				}
			})
		}
	}
	t.Run("never reserved", func(t *testing.T) {
		var s Sample
		if s.Commit() != ErrDone || s.Discard() != ErrDone || s.Bytes() != nil {
			t.Error("the zero Sample can be committed")
		}
	})
}

// A late second Commit must not commit a sample that another goroutine has reserved at the same
// offset, one lap later.
func TestALateSecondCommitTouchesNobody(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	half := ringSize/2 - 8
	old, err := p.TryReserve(half)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Discard(); err != nil {
		t.Fatal(err)
	}
	if err := p.TryWrite(make([]byte, half)); err != nil {
		t.Fatal(err)
	}
	drain(t, c)
	now, err := p.TryReserve(half) // at the same offset as old
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Commit(); err != ErrDone {
		t.Errorf("second Commit a lap later: %v", err)
	}
	if err := p.TryWrite(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if n := drain(t, c); n != 0 {
		t.Errorf("%d samples came past one that is reserved", n)
	}
	if err := now.Commit(); err != nil {
		t.Error(err)
	}
	if n := drain(t, c); n != 2 {
		t.Errorf("%d of 2 samples came", n)
	}
}

func TestWhatIsReservedIsBusy(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p := producer(t, m, Options{})
	state := func(rule string, want userring.Diagnosis) {
		t.Helper()
		got, err := userring.Diagnose(m)
		if err != nil {
			t.Fatal(err)
		}
		want.Holder = p.claim
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", rule, diff)
		}
	}
	var s [4]Sample
	for i := range s {
		var err error
		if s[i], err = p.TryReserve(8); err != nil {
			t.Fatal(err)
		}
	}
	state("what is reserved is BUSY", userring.Diagnosis{ProducerPos: 64, Busy: 4})
	s[2].Commit()
	state("a commit waits for those before it", userring.Diagnosis{ProducerPos: 64, Committed: 1, Busy: 3})
	s[0].Commit()
	state("the first is committed", userring.Diagnosis{ProducerPos: 64, Committed: 2, Busy: 2, BusyPos: 16})
	s[1].Discard()
	s[3].Discard()
	state("all are done", userring.Diagnosis{ProducerPos: 64, Committed: 2, Discarded: 2})
}

// The kernel skips a discarded sample and frees its room, even if no sample follows it.
func TestDiscardMakesRoom(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	for range 3 {
		s, err := p.TryReserve(largest)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Discard(); err != nil {
			t.Fatal(err)
		}
		if n := drain(t, c); n != 0 {
			t.Errorf("%d samples came", n)
		}
	}
}
