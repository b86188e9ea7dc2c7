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
	m := userRing(t, 4096)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 1<<13)
	const fit = 4096 / 48
	seq := uint32(0)
	// Laps around the ring, from all offsets in it.
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
	if n := counts(t, c); n.Samples != uint64(seq+fit) {
		t.Errorf("%d values came in all, want %d", n.Samples, seq+fit)
	}
}

func TestABatch(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 4096)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 1<<13)
	b := begin(p)
	seq := uint32(0)
	next := func(n int) {
		t.Helper()
		buf, err := b.TryNext(n)
		if err != nil {
			t.Fatal(err)
		}
		usercheck.Fill(buf, 0, seq)
		seq++
	}
	came := func(rule string, want int) {
		t.Helper()
		if n := drain(t, c); n != want {
			t.Errorf("%s: %d samples came, want %d", rule, n, want)
		}
	}
	next(16)
	next(100)
	came("not published", 0)
	if err := b.Publish(); err != nil {
		t.Fatal(err)
	}
	came("published", 2)
	if err := b.Publish(); err != nil {
		t.Fatal(err)
	}
	came("published again", 0)
	next(16)
	b.Drop()
	b.Drop() // nothing to drop
	seq--
	next(24)
	if n, err := appendAll(b, newValues(3, seq)); n != 3 || err != nil {
		t.Fatalf("Append() = %d, %v", n, err)
	}
	seq += 3
	b.Drop() // not samples of Next
	next(16)
	b.Publish()
	b.Drop() // published already
	came("after Drop and Append", 5)
	if _, err := b.TryNext(4096); err == nil {
		t.Error("a sample larger than the ring fits")
	}
	next(2000)
	next(2000)
	if _, err := b.TryNext(2000); err != ErrFull {
		t.Errorf("a full ring: %v", err)
	}
	next(8 + 16) // a smaller sample fits
	if err := b.End(); err != nil {
		t.Fatal(err)
	}
	came("at the end", 3)
	if err := b.End(); err != nil {
		t.Errorf("second End: %v", err)
	}
	if _, err := b.TryNext(8); err != errEnded {
		t.Errorf("Next after End: %v", err)
	}
	if err := b.Publish(); err != errEnded {
		t.Errorf("Publish after End: %v", err)
	}
	if _, err := appendAll(b, []int{1}); err != errEnded {
		t.Errorf("Append after End: %v", err)
	}
	// A batch after reserved samples.
	s, err := p.TryReserve(8)
	if err != nil {
		t.Fatal(err)
	}
	b = begin(p)
	next(16)
	b.Publish()
	next(16)
	b.End()
	came("behind a reserved one", 0)
	s.Discard()
	came("behind one that was discarded", 2)
	// A batch without samples leaves no trace.
	if s, err = p.TryReserve(8); err != nil {
		t.Fatal(err)
	}
	b = begin(p)
	b.End()
	if err := p.TryWrite(nil); err != nil {
		t.Errorf("a write after an empty batch: %v", err)
	}
	s.Discard()
	came("behind an empty batch", 1)
	counts(t, c)
}

func TestTypesThatCanBeWritten(t *testing.T) {
	testenv.NoLeaks(t)
	p := producer(t, userRing(t, 4096), Options{})
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
		{"more than the ring", func() (int, error) { return TryWriteAll(p, [][4089]byte{{}}) }, false},
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
	m := userRing(t, 4096)
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
