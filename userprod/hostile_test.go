package userprod

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// setHeader overwrites a header.
func setHeader(pos ring.Pos, h uint64) func(*ring.Mapping) {
	return func(mem *ring.Mapping) { mem.Data().SetTagged(pos, ring.Tagged(h)) }
}

// setProducer overwrites producer_pos.
func setProducer(pos ring.Pos) func(*ring.Mapping) {
	return func(mem *ring.Mapping) { mem.SetProducerPos(pos) }
}

// Calls that write a sample of 8 bytes or wait for room for such a sample.
var (
	write   = func(p *Producer) error { return p.TryWrite(make([]byte, 8)) }
	reserve = func(p *Producer) error { _, err := p.TryReserve(8); return err }
	batch   = func(p *Producer) error {
		b := begin(p)
		defer b.End()
		if _, err := b.TryNext(8); err != nil {
			return err
		}
		return b.End()
	}
	wait = func(p *Producer) error { return p.awaitRoom(context.Background(), 8, 1) }
)

// foreignWrites are changes that another process makes to the ring.
var foreignWrites = []struct {
	rule string
	full bool // before the change the ring is filled with samples of 1016 bytes; otherwise it contains one sample
	do   func(*ring.Mapping)
	call func(p *Producer) error
	fine bool // no call fails because of the change
}{
	{rule: "producer position moved on", do: setProducer(1024 + 8), call: write},
	{rule: "producer position moved on, batch", do: setProducer(1024 + 8), call: batch},
	{rule: "producer position moved back", do: setProducer(1024 - 8), call: write},
	{rule: "producer position moved back, batch", do: setProducer(1024 - 8), call: batch},
	{rule: "producer position 0", do: setProducer(0), call: write},
	{rule: "producer position not a multiple of 8", do: setProducer(1025), call: write},
	{rule: "producer position beyond all", do: setProducer(1 << 63), call: write},
	{rule: "producer position beyond all, reserve", do: setProducer(1 << 63), call: reserve},
	{rule: "producer position far behind, reserve", do: setProducer(-ring.Pos(2 * ringSize)), call: reserve},
	{rule: "producer position beyond all, values", do: setProducer(1 << 63), call: func(p *Producer) error {
		_, err := TryWriteAll(p, []uint64{1, 2})
		return err
	}},
	{rule: "producer position of a full ring", full: true, do: setProducer(ring.Pos(ringSize) + 64), call: reserve},
	{rule: "producer position of a full ring, wait", full: true, do: setProducer(ring.Pos(ringSize) - 1), call: wait},
	{rule: "header too long", full: true, do: setHeader(0, uint64(ringSize)), call: reserve},
	{rule: "header too long, wait", full: true, do: setHeader(0, uint64(ringSize)), call: wait},
	{rule: "header with all bits", full: true, do: setHeader(0, 1<<64-1), call: write},
	{rule: "a committed sample made BUSY", full: true, do: setHeader(0, 1016|ring.BusyBit|1<<40), call: reserve},
	{rule: "a header that the kernel has not come to", full: true, do: setHeader(1024, 1<<64-1), call: func(p *Producer) error {
		if err := reserve(p); err != ErrFull {
			return err
		}
		return nil
	}, fine: true},
}

// The next call that the change could mislead fails.
func TestWhoWritesIntoTheRingIsNoticed(t *testing.T) {
	for _, tt := range foreignWrites {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := userRing(t, testenv.PageSize)
			p := producer(t, m, Options{Timer: time.Millisecond})
			if tt.full {
				fillUp(t, p)
			} else if err := p.TryWrite(make([]byte, 1016)); err != nil {
				t.Fatal(err)
			}
			onRing(t, m, tt.do)
			err := tt.call(p)
			if tt.fine && err != nil || !tt.fine && !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			if tt.fine {
				return
			}
			t.Log(err)
			for _, call := range []func(*Producer) error{write, reserve, batch, wait} {
				if again := call(p); again == nil || again.Error() != err.Error() {
					t.Errorf("a later call: %v", again)
				}
			}
		})
	}
}

func TestAWaitNoticesItToo(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p := producer(t, m, Options{Timer: time.Millisecond})
	fillUp(t, p)
	done := make(chan error, 1)
	go func() { done <- p.awaitRoom(t.Context(), 8, 1) }()
	testenv.Asleep(t, "userprod.(*Producer).sleep")
	onRing(t, m, setHeader(0, 1<<20))
	if err := <-done; !errors.Is(err, ErrCorrupt) || !errors.Is(err, unix.EINVAL) {
		t.Errorf("Wait: %v", err)
	}
}

func TestAReservedSampleOverwritten(t *testing.T) {
	testenv.NoLeaks(t)
	for _, header := range []uint64{0, 8, 8 | ring.BusyBit, 1<<64 - 1} {
		m := userRing(t, testenv.PageSize)
		p := producer(t, m, Options{})
		if err := p.TryWrite(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		s, err := p.TryReserve(8)
		if err != nil {
			t.Fatal(err)
		}
		onRing(t, m, setHeader(16, header))
		if err := s.Commit(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("header %#x: %v", header, err)
		}
	}
}

// scribble writes random words into the ring until standard input ends.
func scribble(m *ebpf.Map) error {
	mem, err := ring.Produce(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		os.Stdin.Read(make([]byte, 1))
		close(ended)
	}()
	fmt.Println("ready")
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		// Make mostly small changes, because large changes are detected at once.
		prod := mem.ProducerPos()
		switch rand.IntN(6) {
		case 0:
			mem.SetProducerPos(ring.Pos(rand.Uint64()))
		case 1:
			mem.SetProducerPos(prod + ring.Pos(rand.IntN(64)) - 32)
		case 2:
			mem.SetProducerPos(prod + ring.Pos(rand.IntN(64))*8 - 256)
		case 3:
			mem.Data().SetTagged(mem.ConsumerPos(), ring.Tagged(rand.Uint64()))
		case 4:
			mem.Data().SetTagged(ring.Pos(rand.Uint64()&^7), ring.Tagged(rand.Uint64()))
		case 5:
			pos := ring.Pos(rand.Uint64() &^ 7)
			mem.Data().SetTagged(pos, mem.Data().Tagged(pos)^1<<rand.IntN(64))
		}
	}
}

// A process writes random words into the ring while this process produces into it. No call faults
// or loops forever, and the only error is ErrCorrupt. After the other process has ended, Mend
// repairs the ring.
func TestScribbler(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	c := checker(t, m, 1, 64)
	noticed := 0
	for range long(20, 3) {
		a := testenv.Start(t, "scribble", m)
		a.Expect(t, "ready")
		begin := time.Now()
		for time.Since(begin) < 200*time.Millisecond || noticed == 0 {
			if time.Since(begin) > time.Minute {
				t.Fatal("no Producer noticed")
			}
			if produceBeside(t, m, c) {
				noticed++
			}
		}
		a.Kill()
		checkMended(t, m, c)
	}
	t.Logf("noticed %d times", noticed)
}

// produceBeside produces while another process writes random words into the ring. It reports
// whether the Producer noticed that.
func produceBeside(t *testing.T, m *ebpf.Map, c *usercheck.Checker) (noticed bool) {
	t.Helper()
	p, err := New(m, Options{Mend: true, Timer: time.Millisecond})
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { produceWildly(t, ctx, p) })
	}
	all.Go(func() { // the results do not matter
		for range 10 {
			c.Drain(0, 0)
		}
	})
	all.Wait()
	noticed = errors.Is(p.failure(), ErrCorrupt)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return noticed
}

// checkMended mends the ring and checks that it can be used.
func checkMended(t *testing.T, m *ebpf.Map, c *usercheck.Checker) {
	t.Helper()
	p, err := New(m, Options{Mend: true})
	if err != nil {
		t.Fatalf("after the scribbler's end: %v", err)
	}
	for range 3 {
		if _, err := c.Drain(0, 0); err != nil {
			t.Fatalf("drain of a mended ring: %v", err)
		}
	}
	before := stats(t, p)
	if before.ConsumerPos != before.ProducerPos {
		t.Fatalf("a mended ring is not drained: %+v", before)
	}
	if err := p.TryWrite(make([]byte, largest)); err != nil {
		t.Fatal(err)
	}
	if n := drain(t, c); n != 1 {
		t.Fatalf("%d samples came of 1 written into a mended ring", n)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// produceWildly produces in all ways until a call fails.
func produceWildly(t *testing.T, ctx context.Context, p *Producer) {
	for i := 0; ; i++ {
		var err error
		switch w := ways[i%len(ways)]; {
		case i%5 == 0:
			var s Sample
			if s, err = p.TryReserve(rand.IntN(500)); err == nil {
				clear(s.Bytes())
				err = s.Discard()
			}
		case i%7 == 0:
			_, err = TryWriteAll(p, make([][3]uint64, rand.IntN(50)))
		default:
			err = w.write(ctx, p, rand.IntN(1000), func(b []byte) { clear(b) })
		}
		switch {
		case err == nil || err == ErrFull:
		case errors.Is(err, ErrDone): // the scribbler cleared the BUSY bit
		case errors.Is(err, ErrCorrupt) || errors.Is(err, context.DeadlineExceeded):
			return
		default:
			t.Errorf("error %v", err)
			return
		}
	}
}

// If another process has moved producer_pos, the header at head belongs to that process.
func TestAReservationThatFailsLeavesAForeignHeader(t *testing.T) {
	testenv.NoLeaks(t)
	for name, reserve := range map[string]func(p *Producer) error{
		"TryReserve": func(p *Producer) error { _, err := p.TryReserve(8); return err },
		"Reserve":    func(p *Producer) error { _, err := p.Reserve(t.Context(), 8); return err },
		"Write":      func(p *Producer) error { return p.Write(t.Context(), make([]byte, copyLocked+8)) },
	} {
		m := userRing(t, 1<<16)
		p := producer(t, m, Options{})
		if err := p.TryWrite(make([]byte, 1016)); err != nil {
			t.Fatal(err)
		}
		const foreign = 0x1234<<32 | 24
		onRing(t, m, setHeader(1024, foreign))
		onRing(t, m, setProducer(1024+32))
		if err := reserve(p); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		onRing(t, m, func(mem *ring.Mapping) {
			if h := mem.Data().Tagged(1024); h != foreign {
				t.Errorf("%s: the header is %#x, was %#x", name, uint64(h), uint64(foreign))
			}
		})
	}
}
