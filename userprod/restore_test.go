package userprod

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/userring"
)

// onRing calls do with m mapped as a producer maps it.
func onRing(tb testing.TB, m *ebpf.Map, do func(mem *ring.Mapping)) {
	tb.Helper()
	mem, err := ring.Produce(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		tb.Fatal(err)
	}
	do(mem)
	if err := mem.Unmap(); err != nil {
		tb.Error(err)
	}
}

const (
	busy      = ring.BusyBit
	discarded = ring.DiscardBit
)

// leftovers are what a dead or faulty producer can leave in a ring of ringSize bytes.
var leftovers = []struct {
	rule     string
	headers  map[uint64]ring.Header // header at each position
	producer uint64
	// errno is what the kernel's drain returns at the fault.
	errno unix.Errno
	wrong bool // there is a fault, which the kernel may not detect
	// These count the samples before the fault.
	committed, discarded, busy int
}{
	{rule: "nothing"},
	{rule: "committed samples", headers: map[uint64]ring.Header{0: 8, 16: 0, 24: 9}, producer: 48, committed: 3},
	{rule: "a full ring", headers: map[uint64]ring.Header{0: ring.Header(largest)}, producer: uint64(ringSize), committed: 1},
	{rule: "an abandoned sample", headers: map[uint64]ring.Header{0: 8, 16: busy | 8, 32: 8}, producer: 48, committed: 2, busy: 1},
	{rule: "abandoned samples only", headers: map[uint64]ring.Header{0: busy, 8: busy | 100, 120: busy}, producer: 128, busy: 3},
	{rule: "discarded and BUSY is discarded", headers: map[uint64]ring.Header{0: busy | discarded | 8, 16: discarded}, producer: 24, discarded: 2},
	{rule: "producer position not a multiple of 8", headers: map[uint64]ring.Header{0: 8, 16: 8}, producer: 33,
		errno: unix.EINVAL, wrong: true, committed: 2},
	{rule: "producer position 4", producer: 4, errno: unix.EINVAL, wrong: true},
	{rule: "a sample that ends behind the producer position", headers: map[uint64]ring.Header{0: 8, 16: 24}, producer: 40,
		errno: unix.EINVAL, wrong: true, committed: 1},
	{rule: "all bits", headers: map[uint64]ring.Header{0: 8, 16: 1<<32 - 1}, producer: uint64(ringSize),
		errno: unix.EINVAL, wrong: true, committed: 1},
	{rule: "a discarded one that is too long", headers: map[uint64]ring.Header{0: discarded | ring.Header(2*ringSize)}, producer: uint64(ringSize),
		errno: unix.EINVAL, wrong: true},
	{rule: "a producer position too far, and a sample longer than the ring", headers: map[uint64]ring.Header{0: ring.Header(largest + 1)}, producer: 1 << 20,
		errno: unix.E2BIG, wrong: true},
	{rule: "a producer position too far, and no multiple of 8", producer: 1<<20 + 1, errno: unix.EINVAL, wrong: true},
}

// place puts leftovers into an empty ring. Their positions are relative to the consumer position of
// the ring.
func place(mem *ring.Mapping, headers map[uint64]ring.Header, producer uint64) (cons ring.Pos) {
	cons = mem.ConsumerPos()
	for pos := ring.Pos(0); uint64(pos) < mem.Size(); pos += 8 { // clears old data, which could look like a header
		mem.Data().SetTagged(cons+pos, ring.Tag(1<<32-1, 0))
	}
	for pos, h := range headers {
		mem.Data().SetTagged(cons+ring.Pos(pos), ring.Tag(h, 0))
	}
	mem.SetProducerPos(cons + ring.Pos(producer))
	return cons
}

func TestLeftovers(t *testing.T) {
	for _, tt := range leftovers {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := userRing(t, testenv.PageSize)
			c := checker(t, m, 1, 64)
			onRing(t, m, func(mem *ring.Mapping) { place(mem, tt.headers, tt.producer) })

			d, err := userring.Diagnose(m)
			if err != nil {
				t.Fatal(err)
			}
			if d.Committed != tt.committed || d.Discarded != tt.discarded || d.Busy != tt.busy || (d.Fault != nil) != tt.wrong {
				t.Errorf("Diagnose() = %+v", d)
			}
			if tt.wrong {
				t.Log(d.Fault)
				if !errors.Is(d.Fault, ErrCorrupt) {
					t.Errorf("the fault is not ErrCorrupt: %v", d.Fault)
				}
				if _, err := New(m, Options{}); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("New: %v", err)
				}
			}
			p, err := New(m, Options{Mend: tt.wrong})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if r := p.found; r.Abandoned != tt.busy && !tt.wrong || (r.Mended != nil) != tt.wrong {
				t.Errorf("recovered %+v", r)
			}
			if got := drain(t, c); got != tt.committed {
				t.Errorf("%d samples came, committed %d", got, tt.committed)
			}
			for seq := range uint32(3) {
				if err := one(p, seq); err != nil {
					t.Fatal(err)
				}
			}
			if got := drain(t, c); got != 3 {
				t.Errorf("of 3 new samples %d came", got)
			}
		})
	}
}

// The drain of the kernel returns Fault.Errno. A drain that finds a fault does not return the
// number of samples that it drained before.
func TestTheKernelSaysOfAFaultWhatWeSay(t *testing.T) {
	for _, tt := range leftovers {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := userRing(t, testenv.PageSize)
			c := checker(t, m, 1, 64)
			onRing(t, m, func(mem *ring.Mapping) { place(mem, tt.headers, tt.producer) })
			d, _ := userring.Diagnose(m)
			n, err := c.Drain(0, 0)
			switch {
			case tt.busy > 0:
				if err != nil || n > tt.committed {
					t.Errorf("drain: %d, %v", n, err)
				}
			case tt.errno == 0 && (err != nil || n != tt.committed), tt.errno != 0 && err != tt.errno:
				t.Errorf("drain: %d, %v; want %d, %v", n, err, tt.committed, tt.errno)
			}
			if d.Fault != nil && d.Fault.Errno != tt.errno {
				t.Errorf("Diagnose says %v", d.Fault)
			}
		})
	}
}

// If producer_pos is behind consumer_pos, the kernel never finds a sample.
func TestAProducerPositionBehind(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	c := checker(t, m, 1, 64)
	onRing(t, m, func(mem *ring.Mapping) { place(mem, map[uint64]ring.Header{0: 100}, 112) })
	drain(t, c)
	onRing(t, m, setProducer(56))
	if n := drain(t, c); n != 0 {
		t.Fatalf("%d samples came", n)
	}
	_, err := New(m, Options{})
	fault, ok := errors.AsType[*userring.Fault](err)
	if !ok || fault.Errno != 0 || fault.Pos != 112 {
		t.Fatalf("New: %v", err)
	}
	p, err := New(m, Options{Mend: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := one(p, 0); err != nil {
		t.Fatal(err)
	}
	if n := drain(t, c); n != 1 {
		t.Errorf("%d of 1 samples came", n)
	}
}

// The part of a ring that Mend discards can be longer than a dynptr.
func TestALargeRingIsMended(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, 64<<20)
	c := checker(t, m, 1, 64)
	onRing(t, m, func(mem *ring.Mapping) {
		place(mem, map[uint64]ring.Header{0: 8, 16: ring.MaxSample + 1}, 64<<20)
	})
	if _, err := c.Drain(0, 0); err != unix.E2BIG {
		t.Errorf("drain: %v", err)
	}
	d, err := userring.Diagnose(m)
	if err != nil || d.Fault == nil || d.Fault.Errno != unix.E2BIG {
		t.Errorf("Diagnose() = %+v, %v", d, err)
	}
	p, err := New(m, Options{Mend: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if r := p.found; r.Mended == nil || r.Lost != 64<<20-16 {
		t.Errorf("recovered %+v", r)
	}
	if _, err := c.Drain(0, 0); err != nil {
		t.Errorf("drain of the mended ring: %v", err)
	}
	if s := stats(t, p); s.Free != 64<<20 {
		t.Errorf("not all was passed over: %+v", s)
	}
}

// drainAlways makes the kernel drain the ring until stop is called.
func drainAlways(c *usercheck.Checker) (stop func() error) {
	done, ended := make(chan struct{}), make(chan error)
	go func() {
		for {
			if _, err := c.Drain(0, 0); err != nil {
				ended <- err
				return
			}
			select {
			case <-done:
				ended <- nil
				return
			default:
			}
		}
	}()
	return func() error {
		close(done)
		return <-ended
	}
}

// The kernel drains the ring of a dead producer while the ring is restored: committed samples are
// drained, other samples are not, and neither side disturbs the other.
func TestRestoreWhileTheKernelDrains(t *testing.T) {
	testenv.NoLeaks(t)
	const each = 100 // number of samples of each producer
	m := userRing(t, 64<<10)
	times := long(100, 20)
	c := checker(t, m, 1, each*times)
	stop := drainAlways(c)
	committed := 0
	for i := range times {
		abandoned := 0
		onRing(t, m, func(mem *ring.Mapping) {
			p, err := newProducer(mem, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for seq := i * each; seq < (i+1)*each; seq++ {
				s, err := p.TryReserve(usercheck.HeadSize + seq%300)
				if err != nil {
					t.Fatal(err)
				}
				usercheck.Fill(s.Bytes(), 0, uint32(seq))
				if rand.IntN(2) == 0 {
					abandoned++
				} else if err := s.Commit(); err != nil {
					t.Fatal(err)
				} else {
					committed++
				}
			}
		})
		onRing(t, m, func(mem *ring.Mapping) {
			found, err := userring.Restore(mem, false)
			if err != nil || found.Abandoned != abandoned {
				t.Errorf("restore: %+v, %v: want %d abandoned", found, err, abandoned)
			}
			// Wait until the ring is empty, so that the next producer has room.
			for mem.ConsumerPos() != mem.ProducerPos() {
				runtime.Gosched()
			}
		})
	}
	if err := stop(); err != nil {
		t.Fatalf("drain: %v", err)
	}
	if n := counts(t, c); n.Samples != uint64(committed) {
		t.Errorf("%d samples came, %d were committed", n.Samples, committed)
	}
}

// In random rings the kernel drains the samples that Diagnose finds, before and after the rings are
// mended.
func TestRandomRings(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	c := checker(t, m, 1, 64)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	faults := 0
	for i := range long(3000, 200) {
		var cons uint64
		headers, producer := randomRing(rng)
		onRing(t, m, func(mem *ring.Mapping) { cons = uint64(place(mem, headers, producer)) })
		before, err := userring.Diagnose(m)
		if err != nil {
			t.Fatal(err)
		}
		if before.ConsumerPos != cons {
			t.Fatalf("ring %d: consumer position %d, was %d", i, before.ConsumerPos, cons)
		}
		if before.Fault != nil {
			faults++
		}
		p, err := New(m, Options{Mend: true})
		if err != nil {
			t.Fatalf("ring %d, %v up to %d: %v", i, headers, producer, err)
		}
		after, err := userring.Diagnose(m)
		after.Holder = 0
		if err != nil || after.Fault != nil || after.Busy != 0 || after.Committed != before.Committed {
			t.Fatalf("ring %d, %v up to %d: %+v\nthen %+v, %v", i, headers, producer, before, after, err)
		}
		if n, err := c.Drain(0, 0); err != nil || n != before.Committed {
			t.Fatalf("ring %d, %v up to %d: drained %d, %v of %+v", i, headers, producer, n, err, before)
		}
		b := make([]byte, usercheck.HeadSize-1)
		if err := p.TryWrite(b); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Drain(0, 0); err != nil || n != 1 {
			t.Fatalf("ring %d: drained %d, %v", i, n, err)
		}
		p.Close()
	}
	t.Logf("%d had a fault", faults)
}

// randomRing returns a chain of samples in which at most one header or the producer position is
// wrong.
func randomRing(rng *rand.Rand) (headers map[uint64]ring.Header, producer uint64) {
	headers = map[uint64]ring.Header{}
	flags := []ring.Header{0, 0, 0, busy, discarded, busy | discarded}
	for {
		n := rng.Uint32N(300)
		if producer+ring.Span(n) > uint64(ringSize) || rng.IntN(40) == 0 {
			break
		}
		headers[producer] = ring.Header(n) | flags[rng.IntN(len(flags))]
		producer += ring.Span(n)
	}
	switch rng.IntN(6) {
	case 0:
		producer += rng.Uint64N(16)
	case 1:
		producer -= min(producer, rng.Uint64N(40))
	case 2:
		producer = rng.Uint64N(4 * uint64(ringSize))
	case 3:
		for pos := range headers {
			headers[pos] = ring.Header(rng.Uint32())
			break
		}
	}
	return headers, producer
}
