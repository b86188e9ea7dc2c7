package userprod

import (
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/testenv"
)

// value is a sample that the Checker checks.
type value [40]byte

func newValues(n int, first uint32) []value {
	v := make([]value, n)
	for i := range v {
		usercheck.Fill(v[i][:], 0, first+uint32(i))
	}
	return v
}

func TestWriteAll(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 1<<14)
	fit := ringSize / 48
	seq := uint32(0)
	// Write for several laps around the ring, from all offsets in it.
	for _, n := range []int{0, 1, 2, 3, fit - 1, fit, fit, 7, fit, 80, 31, fit, 5, 6, fit, fit} {
		got, err := TryWriteAll(p, newValues(n, seq))
		if err != nil || got != n {
			t.Fatalf("WriteAll of %d values = %d, %v", n, got, err)
		}
		seq += uint32(n)
		if got := drain(t, c); got != n {
			t.Fatalf("%d of %d values came", got, n)
		}
	}
	got, err := TryWriteAll(p, newValues(fit+3, seq))
	if got != fit || err != ErrFull {
		t.Errorf("WriteAll of more than the ring takes = %d, %v; want %d", got, err, fit)
	}
	if got := drain(t, c); got != fit {
		t.Errorf("%d of %d values came", got, fit)
	}
	if n := counts(t, c); n.Samples != uint64(seq)+uint64(fit) {
		t.Errorf("%d values came in all, want %d", n.Samples, seq+uint32(fit))
	}
}

// batchTest is a Batch of numbered samples, and the program that drains them.
type batchTest struct {
	t   *testing.T
	p   *Producer
	c   *usercheck.Checker
	b   *Batch
	seq uint32
}

func newBatchTest(t *testing.T) *batchTest {
	m := userRing(t, testenv.PageSize)
	p := producer(t, m, Options{})
	return &batchTest{t: t, p: p, c: checker(t, m, 1, 1<<13), b: begin(p)}
}

// next writes a sample of n bytes.
func (b *batchTest) next(n int) {
	b.t.Helper()
	buf, err := b.b.TryNext(n)
	if err != nil {
		b.t.Fatal(err)
	}
	usercheck.Fill(buf, 0, b.seq)
	b.seq++
}

// came drains the ring and checks the number of drained samples.
func (b *batchTest) came(rule string, want int) {
	b.t.Helper()
	if n := drain(b.t, b.c); n != want {
		b.t.Errorf("%s: %d samples came, want %d", rule, n, want)
	}
}

func TestABatch(t *testing.T) {
	testenv.NoLeaks(t)
	b := newBatchTest(t)
	b.next(16)
	b.next(100)
	b.came("not published", 0)
	for _, want := range []int{2, 0} {
		if err := b.b.Publish(); err != nil {
			t.Fatal(err)
		}
		b.came("published", want)
	}
	b.next(16)
	b.b.Drop()
	b.b.Drop() // nothing to drop
	b.seq--
	b.next(24)
	if n, err := appendAll(b.b, newValues(3, b.seq)); n != 3 || err != nil {
		t.Fatalf("appendAll() = %d, %v", n, err)
	}
	b.seq += 3
	b.b.Drop() // Drop does not drop samples that are not from Next
	b.next(16)
	b.b.Publish()
	b.b.Drop() // Drop does not drop a published sample
	b.came("after Drop and appendAll", 5)
	if _, err := b.b.TryNext(ringSize); err == nil {
		t.Error("a sample larger than the ring fits")
	}
	fit := ringSize / (2000 + 8)
	for range fit {
		b.next(2000)
	}
	if _, err := b.b.TryNext(2000); err != ErrFull {
		t.Errorf("a full ring: %v", err)
	}
	b.next(8 + 16) // a smaller sample fits
	if err := b.b.End(); err != nil {
		t.Fatal(err)
	}
	b.came("at the end", fit+1)
	counts(t, b.c)
}

func TestABatchThatHasEnded(t *testing.T) {
	testenv.NoLeaks(t)
	b := newBatchTest(t).b
	for range 2 {
		if err := b.End(); err != nil {
			t.Errorf("End: %v", err)
		}
	}
	for name, call := range map[string]func() error{
		"Next":      func() error { _, err := b.Next(t.Context(), 8); return err },
		"TryNext":   func() error { _, err := b.TryNext(8); return err },
		"Publish":   b.Publish,
		"appendAll": func() error { _, err := appendAll(b, []int{1}); return err },
	} {
		if err := call(); err != errEnded {
			t.Errorf("%s after End: %v", name, err)
		}
	}
}

func TestABatchBehindReservedSamples(t *testing.T) {
	testenv.NoLeaks(t)
	b := newBatchTest(t)
	b.b.End()
	s, err := b.p.TryReserve(8)
	if err != nil {
		t.Fatal(err)
	}
	b.b = begin(b.p)
	b.next(16)
	b.b.Publish()
	b.next(16)
	b.b.End()
	b.came("behind a reserved one", 0)
	s.Discard()
	b.came("behind one that was discarded", 2)
	// A batch without samples changes nothing.
	if s, err = b.p.TryReserve(8); err != nil {
		t.Fatal(err)
	}
	begin(b.p).End()
	if err := b.p.TryWrite(nil); err != nil {
		t.Errorf("a write after an empty batch: %v", err)
	}
	s.Discard()
	b.came("behind an empty batch", 1)
	counts(t, b.c)
}

func TestTypesThatCanBeWritten(t *testing.T) {
	testenv.NoLeaks(t)
	p := producer(t, userRing(t, testenv.PageSize), Options{})
	type inner struct {
		_ uint8
		_ uint64
	}
	tests := []struct {
		name  string
		write func() (int, error)
		fine  bool
	}{
		{"an integer", func() (int, error) { return TryWriteAll(p, []uint16{1}) }, true},
		{"a struct", func() (int, error) {
			return TryWriteAll(p, []struct {
				inner
				c [3]float64
				d bool
			}{{}})
		}, true},
		{"an empty struct", func() (int, error) { return TryWriteAll(p, []struct{}{{}}) }, true},
		{"an array of no pointers", func() (int, error) { return TryWriteAll(p, [][0]*int{{}}) }, true},
		{"a string", func() (int, error) { return TryWriteAll(p, []string{""}) }, false},
		{"a pointer", func() (int, error) { return TryWriteAll(p, []*int{nil}) }, false},
		{"an address", func() (int, error) { return TryWriteAll(p, []uintptr{0}) }, true},
		{"a slice", func() (int, error) { return TryWriteAll(p, [][]byte{nil}) }, false},
		{"an interface", func() (int, error) { return TryWriteAll(p, []any{nil}) }, false},
		{"an unsafe pointer", func() (int, error) { return TryWriteAll(p, []unsafe.Pointer{nil}) }, false},
		{"a struct with a map", func() (int, error) { return TryWriteAll(p, []struct{ m map[int]int }{{}}) }, false},
		{"an array of functions", func() (int, error) { return TryWriteAll(p, [][2]func(){{}}) }, false},
		{"a channel", func() (int, error) { return TryWriteAll(p, []chan int{nil}) }, false},
		{"more than the ring", func() (int, error) { return TryWriteAll(p, [][64 << 10]byte{{}}) }, false},
		{"more than a dynptr", func() (int, error) { return TryWriteAll(p, make([][1 << 24]byte, 1)) }, false},
	}
	for _, tt := range tests {
		n, err := tt.write()
		if fine := err == nil && n == 1; fine != tt.fine {
			t.Errorf("%s: %d written, %v", tt.name, n, err)
		}
		if err != nil && !strings.Contains(err.Error(), "contain pointers") && !strings.Contains(err.Error(), "too large") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A value has the same bytes in the ring as in memory.
func TestAValueIsWrittenAsItLiesInMemory(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	type small struct{ a, b uint32 }
	if _, err := TryWriteAll(p, []small{{1, 2}}); err != nil {
		t.Fatal(err)
	}
	drain(t, c)
	var want [8]byte
	binary.NativeEndian.PutUint32(want[:], 1)
	binary.NativeEndian.PutUint32(want[4:], 2)
	if n := counts(t, c); n.SmallSum != usercheck.SmallSum(want[:]) || n.Small != 1 {
		t.Errorf("came %+v", n)
	}
}
