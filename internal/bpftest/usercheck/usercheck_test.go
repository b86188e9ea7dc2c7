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

// checked has a Checker, its ring, and the counts that the test expects.
type checked struct {
	*usercheck.Checker
	mem  *ring.Mapping
	want usercheck.Counts
}

// write writes a sample of n bytes, modified by change, and drains it.
func (c *checked) write(t *testing.T, n int, worker, seq uint32, change func(b []byte)) {
	t.Helper()
	pos := c.mem.ProducerPos()
	b := c.mem.Data().Payload(pos, uint32(n))
	usercheck.Fill(b, worker, seq)
	if change != nil {
		change(b)
	}
	c.mem.Data().SetTagged(pos, ring.Tag(ring.Header(n), 0))
	c.mem.SetProducerPos(pos.Next(uint32(n)))
	if n, err := c.Drain(0, 0); n != 1 || err != nil {
		t.Fatalf("Drain() = %d, %v", n, err)
	}
	c.want.Samples++
	c.want.Bytes += uint64(n)
}

func (c *checked) expect(t *testing.T, rule string) {
	t.Helper()
	if got, err := c.Counts(); got != c.want || err != nil {
		t.Fatalf("%s:\n got %+v, %v\nwant %+v", rule, got, err, c.want)
	}
}

// A Checker finds each kind of faulty sample.
func TestWhatACheckerFinds(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: 1 << 16})
	checker, err := usercheck.Load(m, 2, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer checker.Close()
	mem, err := ring.Produce(m.FD(), 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	c := &checked{Checker: checker, mem: mem}
	seq := uint32(0)
	for _, n := range []int{16, 17, 23, 24, 25, 1000, 4088, 4095, 4096} {
		c.write(t, n, 1, seq, nil)
		c.expect(t, "an intact one")
		for _, i := range []int{n - 1, n / 2, 8} { // not the head's worker and seq
			c.write(t, n, 1, seq+10, func(b []byte) { b[max(i, 8)] ^= 1 })
			if c.want.Bad++; c.want.Bad == 1 {
				c.want.FirstBad = uint64(n)<<32 | uint64(seq+10)
			}
			c.expect(t, "a changed one")
		}
		seq++
	}
	c.write(t, 16, 1, 0, nil)
	c.want.Twice++
	c.expect(t, "one that came before")
	c.write(t, 4097, 1, 50, nil)
	c.want.Bad++
	c.expect(t, "one too long")
	for _, name := range [][2]uint32{{2, 0}, {0, 100}, {1 << 31, 1 << 31}} {
		c.write(t, 16, name[0], name[1], nil)
		c.want.Bad++
		c.expect(t, "one of an unknown worker")
	}
	checkSmall(t, c)
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

// checkSmall writes samples that are too short to be checked.
func checkSmall(t *testing.T, c *checked) {
	t.Helper()
	for n := range 16 {
		b := make([]byte, n)
		usercheck.Fill(b, 0, 7)
		c.write(t, n, 0, 7, nil)
		c.want.Small++
		c.want.SmallSum += usercheck.SmallSum(b)
		c.expect(t, "a small one")
	}
}

func TestDrain(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize})
	c, err := usercheck.Load(m, 1, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mem, err := ring.Produce(m.FD(), uint64(testenv.PageSize))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	mem.SetProducerPos(80) // publish ten samples of length 0
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
