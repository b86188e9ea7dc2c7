package userprod

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// refusals are the calls that fail if the ring is full, each with the number of samples that it
// refuses and their bytes.
var refusals = []struct {
	name           string
	samples, bytes uint64
	call           func(p *Producer) error
}{
	{"TryWrite", 1, 8, func(p *Producer) error { return p.TryWrite(make([]byte, 8)) }},
	{"TryWrite of a large sample", 1, copyLocked + 1, func(p *Producer) error { return p.TryWrite(make([]byte, copyLocked+1)) }},
	{"TryReserve", 1, 8, func(p *Producer) error { _, err := p.TryReserve(8); return err }},
	{"TryNext", 2, 20, func(p *Producer) error {
		b := begin(p)
		defer b.End()
		b.TryNext(16)
		_, err := b.TryNext(4)
		return err
	}},
	{"TryWriteAll", 3, 24, func(p *Producer) error { _, err := TryWriteAll(p, make([]uint64, 3)); return err }},
}

func TestEachRefusedSampleCountsOnce(t *testing.T) {
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			p := producer(t, userRing(t, 8192), Options{})
			for p.TryWrite(make([]byte, 1016)) == nil {
			}
			before := stats(t, p).Refused
			if before.Samples != 1 || before.Bytes != 1016 {
				t.Errorf("after the first refusal: %+v", before)
			}
			if err := tt.call(p); err != ErrFull {
				t.Fatalf("error %v", err)
			}
			after := stats(t, p).Refused
			if n, b := after.Samples-before.Samples, after.Bytes-before.Bytes; n != tt.samples || b != tt.bytes {
				t.Errorf("%d samples of %d bytes refused, want %d of %d", n, b, tt.samples, tt.bytes)
			}
		})
	}
}

func TestWhatIsWrittenOrTooLargeIsNotRefused(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{Timer: -1}), checker(t, m, 1, 64)
	if err := p.TryWrite(make([]byte, largest+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a sample larger than the ring: %v", err)
	}
	for _, w := range waits {
		if err := p.TryWrite(make([]byte, largest)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- w.wait(t.Context(), p) }()
		testenv.Asleep(t, "userprod.(*Producer).sleep")
		before := stats(t, p).Refused
		drain(t, c)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		drain(t, c)
		if r := stats(t, p).Refused; r.Samples != 0 || r.Bytes != 0 || r.Full <= before.Full {
			t.Errorf("%s waited and wrote: %+v, before its end %+v", w.name, r, before)
		}
	}
}

// A wait that its context ends refuses the sample, or all values that are left. A loop over Samples
// has no sample while it waits.
func TestAWaitThatItsContextEndsRefuses(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			p := producer(t, userRing(t, testenv.PageSize), Options{})
			if err := p.TryWrite(make([]byte, largest)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 2)
			for range 2 { // one sleeps in the poller, the other waits for its turn
				go func() { done <- w.wait(ctx, p) }()
			}
			for p.queue.Load() != 2 {
				drainNothing(t, p)
			}
			cancel()
			for range 2 {
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
			}
			want := Refused{Samples: 2, Bytes: 16}
			if w.name == "Samples" {
				want = Refused{}
			}
			if r := stats(t, p).Refused; r.Samples != want.Samples || r.Bytes != want.Bytes {
				t.Errorf("refused: %+v, want %+v", r, want)
			}
		})
	}
}

func TestWriteAllRefusesWhatItLeaves(t *testing.T) {
	testenv.NoLeaks(t)
	p := producer(t, userRing(t, testenv.PageSize), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		testenv.Asleep(t, "userprod.(*Producer).sleep")
		cancel()
	}()
	fit := ringSize / 16
	n, err := WriteAll(ctx, p, make([]uint64, fit+44))
	if r := stats(t, p).Refused; n != fit || !errors.Is(err, context.Canceled) || r.Samples != 44 || r.Bytes != 44*8 {
		t.Errorf("%d values written, %v, refused %+v", n, err, r)
	}
}

func TestTimeFull(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	refuse := func() {
		t.Helper()
		if err := p.TryWrite(make([]byte, largest)); err != ErrFull {
			t.Fatal(err)
		}
	}
	if err := p.TryWrite(make([]byte, largest)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	refuse()
	first := time.Now()
	refuse()
	least, most := time.Since(first), time.Since(began)
	if full := stats(t, p).Refused.Full; full < 0 || full > most {
		t.Errorf("two refusals %v to %v apart: full for %v", least, most, full)
	}
	least = 0
	for range 3 {
		mid := time.Now()
		least += time.Since(mid) // between the refusals
		refuse()
	}
	before := stats(t, p).Refused.Full
	if before < least {
		t.Errorf("full for %v, at least %v is right", before, least)
	}
	// A drain and another sample came between these two refusals.
	drain(t, c)
	if err := p.TryWrite(make([]byte, largest)); err != nil {
		t.Fatal(err)
	}
	refuse()
	if full := stats(t, p).Refused.Full; full != before {
		t.Errorf("full for %v, before the drain %v", full, before)
	}
}

func TestRefusalsLastAsLongAsTheRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	for n := uint64(1); n <= 3; n++ {
		p := producer(t, m, Options{})
		fillUp(t, p)
		if r := stats(t, p).Refused; r.Samples != n || r.Bytes != n*1016 {
			t.Errorf("producer %d: refused %+v", n, r)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What other processes write into the counts changes nothing else.
func TestHostileCountsOfRefusals(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p := producer(t, m, Options{})
	mem, err := ring.Produce(m.FD(), uint64(ringSize))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	r := mem.Refusals()
	r.Samples.Store(1<<64 - 1)
	r.Bytes.Store(1<<64 - 1)
	r.Nanos.Store(1<<64 - 1)
	fillUp(t, p)
	if s := stats(t, p); s.Refused.Samples != 0 || s.Refused.Bytes != 1015 || s.Refused.Full != 1<<63-1 || s.ProducerPos != uint64(ringSize) {
		t.Errorf("Stats() = %+v", s)
	}
	r.Layout.Store(7)
	if s := stats(t, p); s.Refused != (Refused{}) {
		t.Errorf("Stats() = %+v of another layout", s)
	}
}
