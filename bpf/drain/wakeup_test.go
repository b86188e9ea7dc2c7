package drain

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// Tests which runs wake a sleeping consumer, and how many discarded records they append for that.
func TestWakeupsOfTheConsumer(t *testing.T) {
	page := int(testenv.PageSize)
	for _, test := range []struct {
		name      string
		count     int
		size      int
		records   int
		discarded uint64
	}{
		{"nothing", 0, 0, 0, 0},
		{"one record", 1, 8, 1, 0},
		{"one record of no bytes", 1, 0, 1, 0},
		{"several records", 5, 8, 5, 1},
		{"one record that makes the ring half full", 1, page/2 + 52, 1, 0},
		{"until no other fits", page/96 + 3, 88, (page - 8) / 96, 1},
		{"until none of no bytes fits", page/8 + 88, 0, (page - 8) / 8, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, 2*testenv.PageSize, testenv.PageSize, Options{})
			s := newSleeper(t, p.ring, unix.EPOLLIN)
			p.feedN(test.count, test.size, 0)
			p.run(t)
			if got, want := s.woken(test.records > 0), test.records > 0; got != want {
				t.Errorf("woken: %v", got)
			}
			if got := len(p.take(t)); got != test.records {
				t.Errorf("%d records, want %d", got, test.records)
			}
			stats, err := p.reader.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if stats.Discarded != test.discarded {
				t.Errorf("%d discarded records, want %d", stats.Discarded, test.discarded)
			}
		})
	}
}

// A consumer that reads only after edge-triggered wakeups gets all records, whatever the sizes of
// the runs.
func TestNoWakeupIsLost(t *testing.T) {
	count := uint64(200_000)
	if testing.Short() {
		count = 5000
	}
	p := newPair(t, 4*testenv.PageSize, testenv.PageSize, Options{Limit: 64})
	s := newSleeper(t, p.ring, unix.EPOLLIN)
	if err := p.Start(50 * time.Microsecond); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer cancel()
	feeding.Go(func() {
		for seq := uint64(0); seq < count && ctx.Err() == nil; {
			if p.put(payload(seq, 8+int(mixed(seq)%100)), 0) {
				seq++
				p.publish(p.pos)
			} else {
				runtime.Gosched()
			}
		}
	})
	for got := uint64(0); got < count; {
		records := p.take(t)
		for _, rec := range records {
			if seq := binary.LittleEndian.Uint64(rec); seq != got {
				t.Fatalf("record %d is sample %d", got, seq)
			}
			got++
		}
		if len(records) == 0 && got < count && !s.woken(true) {
			stats, err := p.Stats()
			t.Fatalf("not woken within a minute, %d of %d records: %+v, %v", got, count, stats, err)
		}
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
