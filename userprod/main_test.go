package userprod

import (
	"context"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if testenv.Role() != "" {
		os.Exit(testenv.Play(act))
	}
	os.Exit(testenv.Main(m, "user_ringbuf-drain", "bpf-syscall-program"))
}

// Sizes in bytes: of most rings of the tests, the smallest that there are, and of their largest sample.
var (
	ringSize = int(testenv.PageSize)
	largest  = ringSize - ring.HeaderSize
)

// long returns a number of iterations: full, or short with -short.
func long(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// userRing creates a USER_RINGBUF of size bytes, closed when the test ends.
func userRing(tb testing.TB, size uint32) *ebpf.Map {
	tb.Helper()
	return testenv.Map(tb, &ebpf.MapSpec{Name: "test_user", Type: ebpf.UserRingbuf, MaxEntries: size})
}

// producer returns a Producer of m, closed when the test ends.
func producer(tb testing.TB, m *ebpf.Map, opts Options) *Producer {
	tb.Helper()
	p, err := New(m, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// begin begins a Batch. If that fails, the methods of the Batch fail too.
func begin(p *Producer) *Batch {
	b, _ := p.Batch(context.Background())
	return b
}

// checker returns a Checker of m, closed when the test ends.
func checker(tb testing.TB, m *ebpf.Map, workers, seqs int) *usercheck.Checker {
	tb.Helper()
	c, err := usercheck.Load(m, uint32(workers), uint32(seqs))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// drain makes the kernel drain the ring, and returns the number of samples drained.
func drain(tb testing.TB, c *usercheck.Checker) int {
	tb.Helper()
	n, err := c.Drain(0, 0)
	if err != nil {
		tb.Fatalf("drain: %v", err)
	}
	return n
}

// counts returns the counts of the samples drained so far, and checks that the samples are intact.
func counts(tb testing.TB, c *usercheck.Checker) usercheck.Counts {
	tb.Helper()
	n, err := c.Counts()
	if err != nil {
		tb.Fatal(err)
	}
	if n.Bad != 0 || n.Twice != 0 {
		tb.Errorf("%d bad samples, the first of size %d with number %d; %d came twice",
			n.Bad, n.FirstBad>>32, uint32(n.FirstBad), n.Twice)
	}
	return n
}

// stats returns the Stats of p.
func stats(tb testing.TB, p *Producer) Stats {
	tb.Helper()
	s, err := p.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
