package drain

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestASampleBecomesARecord(t *testing.T) {
	sizes := []int{0, 1, 7, 8, 9, 63, 64, 65, 4087, 4088, maxChunk - 1, maxChunk, maxChunk + 1, 2 * maxChunk, 3*maxChunk + 5}
	p := newPair(t, 1<<20, 1<<20, Options{})
	for seq, size := range sizes {
		p.feed(payload(uint64(seq), size))
	}
	if res := p.run(t); res.Delivered != uint64(len(sizes)) || res.DeliveredBytes != res.Bytes || res.Full {
		t.Errorf("%+v", res)
	}
	records := p.take(t)
	if len(records) != len(sizes) {
		t.Fatalf("%d records, want %d", len(records), len(sizes))
	}
	for seq, size := range sizes {
		if !bytes.Equal(records[seq], payload(uint64(seq), size)) {
			t.Errorf("sample of %d bytes arrived as another one of %d", size, len(records[seq]))
		}
	}
}

func TestTheLargestSampleOfADynptr(t *testing.T) {
	p := newPair(t, 32<<20, 32<<20, Options{})
	if p.MaxSample() != maxDynptr {
		t.Fatalf("MaxSample %d", p.MaxSample())
	}
	samples := [][]byte{payload(0, maxDynptr), payload(1, maxDynptr)}
	for _, sample := range samples { // the second pass finds the target full, and fills the user ring
		p.feed(sample)
		p.run(t)
	}
	for seq, sample := range samples {
		p.run(t)
		records := p.take(t)
		if len(records) == 0 || !bytes.Equal(records[0], sample) {
			t.Fatalf("sample %d did not arrive intact", seq)
		}
	}
}

// In rings of several sizes, the longest samples that can never fit are counted and dropped.
func TestASampleThatNeverFitsIsCountedAndDropped(t *testing.T) {
	page := uint32(os.Getpagesize())
	for _, test := range []struct {
		name       string
		user, ring uint32
		max        uint32 // Options.MaxSample
		largest    int
	}{
		{"the target is the limit", 4 * page, page, 0, int(page) - 16},
		{"the target is the limit, with long samples", 1 << 20, 1 << 18, 0, 1<<18 - 16},
		{"the caller says less", 4 * page, 4 * page, 100, 100},
		{"the caller says more", 4 * page, page, 1 << 30, int(page) - 16},
		{"the user ring is the limit", page, 4 * page, 0, int(page) - 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, test.user, test.ring, Options{MaxSample: test.max})
			if int(p.MaxSample()) != test.largest {
				t.Errorf("MaxSample %d, want %d", p.MaxSample(), test.largest)
			}
			p.feed(payload(0, test.largest))
			p.run(t)
			if records := p.take(t); len(records) != 1 || !bytes.Equal(records[0], payload(0, test.largest)) {
				t.Fatalf("%d records", len(records))
			}
			if uint64(test.largest)+1+headerSize > p.size {
				return // the sample does not fit into the user ring either
			}
			p.feed(payload(1, test.largest+1))
			if res := p.run(t); res.TooLarge != 1 || res.Delivered != 0 || res.Full {
				t.Errorf("%+v", res)
			}
			p.feed(payload(2, 8))
			if res := p.run(t); res.Delivered != 1 {
				t.Errorf("after it: %+v", res)
			}
			if s, err := p.Stats(); err != nil || s.TooLarge != 1 || s.Aside {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// Samples of random sizes all arrive through a target that is full most of the time.
func TestNothingIsLostWhereTheTargetIsFull(t *testing.T) {
	count := uint64(20_000)
	if testing.Short() {
		count = 2000
	}
	page := testenv.PageSize
	for _, sizes := range [][2]uint32{{page, page}, {16 * page, page}, {page, 16 * page}, {1 << 20, 1 << 18}} {
		p := newPair(t, sizes[0], sizes[1], Options{})
		r := rand.New(rand.NewPCG(3, 4))
		size := func(seq uint64) int {
			limit := p.MaxSample()
			if seq%4 > 0 {
				limit = min(limit, 300)
			}
			return int(mixed(seq) % uint64(limit+1))
		}
		var fed, got, full uint64
		for got < count {
			for fed < count && p.put(payload(fed, size(fed)), 0) {
				fed++
			}
			p.publish(p.pos)
			for range 1 + r.IntN(3) {
				if p.run(t).Full {
					full++
				}
			}
			for _, rec := range p.take(t) {
				if !bytes.Equal(rec, payload(got, size(got))) {
					t.Fatalf("rings of %d and %d: record %d is not sample %d", sizes[0], sizes[1], got, got)
				}
				got++
			}
		}
		s, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if s.Samples != count || s.Delivered != count || s.Full != full || s.TooLarge != 0 || s.Aside {
			t.Errorf("%+v; want %d samples, %d times full", s, count, full)
		}
		if sizes[1] < sizes[0] && full == 0 {
			t.Errorf("rings of %d and %d: the target was never full", sizes[0], sizes[1])
		}
	}
}

// Runs by the caller, the timer and a tracepoint at the same time deliver the samples in order.
func TestTriggersThatRaceKeepTheOrder(t *testing.T) {
	count := uint64(50_000)
	if testing.Short() {
		count = 5000
	}
	p := newPair(t, 2*testenv.PageSize, testenv.PageSize, Options{})
	if err := errors.Join(p.Start(20*time.Microsecond), p.Attach("sys_enter")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for range 2 {
		work.Go(func() {
			for ctx.Err() == nil {
				if _, err := p.Run(RunOptions{}); err != nil && !errors.Is(err, ErrContended) {
					t.Errorf("run: %v", err)
					return
				}
			}
		})
	}
	work.Go(func() {
		for seq := uint64(0); seq < count && ctx.Err() == nil; {
			if p.put(payload(seq, 8+int(mixed(seq)%50)), 0) {
				seq++
				p.publish(p.pos)
			} else {
				runtime.Gosched()
			}
		}
	})
	for got := uint64(0); got < count; got++ {
		rec, err := p.reader.Read(ctx)
		if err != nil {
			s, _ := p.Stats()
			t.Fatalf("%d of %d records: %v; %+v", got, count, err, s)
		}
		if seq := binary.LittleEndian.Uint64(rec.Data); seq != got {
			t.Fatalf("record %d is sample %d", got, seq)
		}
	}
	cancel()
	work.Wait()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Delivered != count || s.Busy+s.Invalid+s.TooBig+s.Failed > 0 {
		t.Errorf("%+v", s)
	}
	if s.Contended == 0 {
		t.Log("no two runs overlapped")
	}
}
