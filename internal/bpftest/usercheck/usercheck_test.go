package usercheck_test

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// A Checker must find faults to prove anything by finding none.
func TestWhatACheckerFinds(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: 1 << 16})
	c, err := usercheck.Load(m, 2, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mem, err := ring.Produce(m.FD(), 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	write := func(n int, worker, seq uint32, change func(b []byte)) {
		t.Helper()
		pos := mem.ProducerPos()
		b := mem.Data().Payload(pos, uint32(n))
		usercheck.Fill(b, worker, seq)
		change(b)
		mem.Data().SetTagged(pos, ring.Tag(ring.Header(n), 0))
		mem.SetProducerPos(pos.Next(uint32(n)))
		if n, err := c.Drain(0, 0); n != 1 || err != nil {
			t.Fatalf("Drain() = %d, %v", n, err)
		}
	}
	nothing := func([]byte) {}
	want := usercheck.Counts{}
	expect := func(rule string) {
		t.Helper()
		if got, err := c.Counts(); got != want || err != nil {
			t.Fatalf("%s:\n got %+v, %v\nwant %+v", rule, got, err, want)
		}
	}
	seq := uint32(0)
	for _, n := range []int{16, 17, 23, 24, 25, 1000, 4088, 4095, 4096} {
		write(n, 1, seq, nothing)
		want.Samples++
		want.Bytes += uint64(n)
		expect("an intact one")
		for _, i := range []int{n - 1, n / 2, 8} { // not its name
			write(n, 1, seq+10, func(b []byte) { b[max(i, 8)] ^= 1 })
			want.Samples++
			want.Bytes += uint64(n)
			if want.Bad++; want.Bad == 1 {
				want.FirstBad = uint64(n)<<32 | uint64(seq+10)
			}
			expect("a changed one")
		}
		seq++
	}
	write(16, 1, 0, nothing)
	want.Samples, want.Bytes, want.Twice = want.Samples+1, want.Bytes+16, want.Twice+1
	expect("one that came before")
	write(4097, 1, 50, nothing)
	want.Samples, want.Bytes, want.Bad = want.Samples+1, want.Bytes+4097, want.Bad+1
	expect("one too long")
	for _, name := range [][2]uint32{{2, 0}, {0, 100}, {1 << 31, 1 << 31}} {
		write(16, name[0], name[1], nothing)
		want.Samples, want.Bytes, want.Bad = want.Samples+1, want.Bytes+16, want.Bad+1
		expect("one of nobody")
	}
	for n := range 16 {
		b := make([]byte, n)
		usercheck.Fill(b, 0, 7)
		write(n, 0, 7, nothing)
		want.Samples, want.Bytes, want.Small = want.Samples+1, want.Bytes+uint64(n), want.Small+1
		want.SmallSum += usercheck.SmallSum(b)
		expect("a small one")
	}
	came, err := c.Seen(1)
	if err != nil {
		t.Fatal(err)
	}
	for i, came := range came {
		if came != (uint32(i) < seq) {
			t.Errorf("sample %d: seen %t", i, came)
		}
	}
	if came, err := c.Seen(0); err != nil || came[7] {
		t.Errorf("a small sample is kept account of: %t, %v", came[7], err)
	}
}

func TestDrain(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: 4096})
	c, err := usercheck.Load(m, 1, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mem, err := ring.Produce(m.FD(), 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	mem.SetProducerPos(80) // ten empty samples
	for _, want := range []struct{ limit, n int }{{3, 3}, {1, 1}, {0, 6}, {0, 0}, {1, 0}} {
		if n, err := c.Drain(0, uint64(want.limit)); n != want.n || err != nil {
			t.Errorf("Drain with limit %d = %d, %v; want %d", want.limit, n, err, want.n)
		}
	}
	mem.SetProducerPos(81)
	if _, err := c.Drain(0, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Drain of a bad position: %v", err)
	}
	if _, err := c.Drain(1<<20, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Drain with unknown flags: %v", err)
	}
}
