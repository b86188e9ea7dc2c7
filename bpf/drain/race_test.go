package drain

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

// If two Drains drain one user ring at the same time, each sample is delivered once.
func TestTwoDrainsOfOneUserRing(t *testing.T) {
	count := uint64(30_000)
	if testing.Short() {
		count = 3000
	}
	p := newPair(t, 2*testenv.PageSize, testenv.PageSize, Options{})
	other := newDrain(t, p.user, Options{To: p.ring})
	if err := errors.Join(p.Start(20*time.Microsecond), other.Start(30*time.Microsecond)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for _, d := range []*Drain{p.Drain, other} {
		work.Go(func() {
			for ctx.Err() == nil {
				if _, err := d.Run(RunOptions{Limit: 5}); err != nil && !errors.Is(err, ErrContended) && !errors.Is(err, ErrBusy) {
					t.Errorf("run: %v", err)
					return
				}
			}
		})
	}
	seen := make([]bool, count)
	for fed, got := uint64(0), uint64(0); got < count; {
		for fed < count && p.put(payload(fed, 8+int(mixed(fed)%200)), 0) {
			fed++
			if mixed(fed)%4 == 0 {
				p.put(nil, discardBit)
			}
		}
		p.publish(p.pos)
		for _, rec := range p.take(t) {
			seq := binary.LittleEndian.Uint64(rec)
			if seen[seq] || len(rec) != 8+int(mixed(seq)%200) {
				t.Fatalf("sample %d again, or of %d bytes", seq, len(rec))
			}
			seen[seq] = true
			got++
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records", got, count)
		}
	}
}

// A producer changes headers while they are drained: runs may return errors and samples may be
// damaged, but the target's records stay valid, and later samples are delivered.
func TestHeadersThatChangeMeanwhile(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		r := rand.New(rand.NewPCG(7, 8))
		values := []uint32{0, 8, 56, 64, testenv.PageSize - 8, 1 << 20, 1<<24 - 1, 1<<30 - 1, 8 | busyBit, 8 | discardBit, 56 | discardBit}
		for {
			select {
			case <-stop:
				return
			default:
				p.header(uint64(r.IntN(int(testenv.PageSize)/64))*64, values[r.IntN(len(values))])
			}
		}
	})
	for range rounds {
		p.pos = p.producerPos()
		for p.put(make([]byte, 56), 0) {
		}
		p.publish(p.pos)
		if _, err := p.Run(RunOptions{}); err != nil && !errors.Is(err, errMalformed) {
			t.Errorf("run: %v", err)
		}
		for _, rec := range p.take(t) {
			if len(rec) > int(p.MaxSample()) {
				t.Errorf("a record of %d bytes", len(rec))
			}
		}
	}
	close(stop)
	work.Wait()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Samples < s.Delivered || s.Failed > 0 {
		t.Errorf("%+v", s)
	}
	p.publish(p.consumerPos()) // repairs the ring
	p.pos = p.producerPos()
	p.take(t)
	p.feed(payload(1, 64))
	for {
		if res := p.run(t); res.Samples == 1 {
			break
		}
		p.take(t)
	}
	records := p.take(t)
	if n := len(records); n == 0 || len(records[n-1]) != 64 || binary.LittleEndian.Uint64(records[n-1]) != 1 {
		t.Errorf("%d records after it is mended", n)
	}
}
