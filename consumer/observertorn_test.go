package consumer

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// On another CPU a producer does at full speed what the kernel does in overwrite mode. It never
// waits, so it laps the Observer of a small ring continuously. Each word of a record identifies the
// record, so a torn record is detected.
func TestObservedRecordsAreNeverTorn(t *testing.T) {
	page := uint64(testenv.PageSize)
	tests := []struct {
		rule     string
		size     uint64
		min, max uint32 // words of a record
	}{
		{"records of one word", page, 1, 1},
		{"short records", page, 1, 30},
		{"records of a quarter of the ring", page, uint32(page / 40), uint32(page/32) - 1},
		{"many lengths in a large ring", 1 << 20, 1, 1000},
		{"records longer than a copy", 1 << 20, 9000, 20000},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			records := uint64(150_000_000 / (tt.min + tt.max + 100))
			switch {
			case testing.Short():
				records /= 250
			case testenv.Race:
				records /= 20
			}
			m := newMemory(t, tt.size)
			o := m.observer(t, ring.Kernel, true, ObserverOptions{})
			var done atomic.Bool
			var producing sync.WaitGroup
			producing.Go(func() {
				defer done.Store(true)
				m.flood(records, tt.min, tt.max)
			})
			defer producing.Wait()
			for last := false; !last; {
				last = done.Load() // if so, the next pass finds everything
				for rec := range o.Pass(0) {
					checkWhole(t, rec)
				}
				if o.Err() != nil {
					t.Fatal(o.Err())
				}
			}
			s, err := o.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if s.Seen+s.Skipped+s.Lost != s.Pos-s.Start || s.Pos != *m.ProducerPos() {
				t.Errorf("%+v", s)
			}
			t.Logf("%d of %d records seen, %d losses", s.Records, records, s.Losses)
		})
	}
}

// A producer writes samples ahead of producer_pos. No observed sample is torn, whether
// ObserverOptions.Ahead is set or not.
func TestObservedSamplesAreNeverTorn(t *testing.T) {
	for _, ahead := range []uint64{0, uint64(testenv.PageSize) / 2} {
		t.Run(fmt.Sprintf("ahead %d", ahead), func(t *testing.T) { observeSamples(t, ahead) })
	}
}

func observeSamples(t *testing.T, ahead uint64) {
	const words = 20
	const span = 8*words + ring.HeaderSize
	size := uint64(testenv.PageSize)
	batch := size / 2 / span
	batches := 250_000
	if testing.Short() || testenv.Race {
		batches /= 50
	}
	m := newMemory(t, size)
	o := m.observer(t, ring.User, false, ObserverOptions{Ahead: ahead})
	var done atomic.Bool
	var producing sync.WaitGroup
	producing.Go(func() {
		defer done.Store(true)
		payload := make([]byte, 8*words)
		pos := uint64(0)
		for range batches {
			for range batch {
				for i := range uint64(words) {
					binary.NativeEndian.PutUint64(payload[8*i:], pos+8*i)
				}
				m.setHeader(pos, uint32(len(payload)))
				m.put(pos+ring.HeaderSize, payload)
				pos += span
			}
			atomic.StoreUint64(m.ProducerPos(), pos)
			// Drain the ring, but leave as many samples as fit beside the next batch.
			if room := size - batch*span; pos > room {
				atomic.StoreUint64(m.ConsumerPos(), (pos-room+span-1)/span*span)
			}
		}
	})
	defer producing.Wait()
	for last := false; !last; {
		last = done.Load()
		for rec := range o.Pass(0) {
			checkWhole(t, rec)
		}
		if o.Err() != nil {
			t.Fatal(o.Err())
		}
	}
	s, _ := o.Stats()
	if s.Seen+s.Lost != s.Pos-s.Start || s.Pos != *m.ProducerPos() {
		t.Errorf("%+v", s)
	}
	t.Logf("%d samples seen, %d losses", s.Records, s.Losses)
}
