package consumer

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// tornWays are ways to read all records that are in a ring.
var tornWays = []struct {
	name string
	read func(r *Reader, use func(Record))
}{
	{"in passes", func(r *Reader, use func(Record)) {
		for rec := range r.Pass(0) {
			use(rec)
		}
	}},
	{"one by one, as Read does", func(r *Reader, use func(Record)) {
		for rec := (Record{}); r.take(&rec); {
			use(rec)
		}
	}},
}

// On another CPU a producer does at full speed, step by step, what the kernel does in overwrite
// mode. Each word of a record identifies the record, so a torn record is detected.
func TestOverwriteIsNeverTorn(t *testing.T) {
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
		for _, way := range tornWays {
			t.Run(tt.rule+" "+way.name, func(t *testing.T) {
				records := uint64(150_000_000 / (tt.min + tt.max + 100))
				switch {
				case testing.Short():
					records /= 250
				case testenv.Race:
					records /= 20
				}
				m := newMemory(t, tt.size)
				r := m.reader(t, true)
				var done atomic.Bool
				var producing sync.WaitGroup
				producing.Go(func() {
					defer done.Store(true)
					m.flood(records, tt.min, tt.max)
				})
				defer producing.Wait()

				var got, bytes, lost, end uint64
				for last := false; !last; {
					last = done.Load() // if so, the next pass finds everything
					way.read(r, func(rec Record) {
						checkWhole(t, rec)
						lost += rec.Pos - end
						end = rec.Pos + ring.Span(uint32(len(rec.Data)))
						bytes += end - rec.Pos
						got++
					})
					if r.Err() != nil {
						t.Fatal(r.Err())
					}
				}
				s, err := r.Stats()
				if err != nil {
					t.Fatal(err)
				}
				if end != *m.ProducerPos() || s.Lost != lost || s.Records != got || bytes+lost != end {
					t.Errorf("%d records, %d bytes, gaps of %d bytes up to %d of %d: %+v", got, bytes, lost, end, *m.ProducerPos(), s)
				}
				t.Logf("%d of %d records read", got, records)
			})
		}
	}
}

// flood produces records of min to max words.
func (m memory) flood(records uint64, min, max uint32) {
	rng := rand.New(rand.NewPCG(1, 2))
	payload := make([]byte, 8*max)
	for range records {
		n := 8 * (min + rng.Uint32N(max-min+1))
		pos := m.reserve(n)
		for i := uint32(0); i < n; i += 8 {
			binary.NativeEndian.PutUint64(payload[i:], pos+uint64(i))
		}
		m.put(pos+ring.HeaderSize, payload[:n])
		m.setHeader(pos, n) // commits as bpf_ringbuf_commit does
	}
}

func checkWhole(t *testing.T, rec Record) {
	t.Helper()
	for i := 0; i < len(rec.Data); i += 8 {
		if got := binary.NativeEndian.Uint64(rec.Data[i:]); got != rec.Pos+uint64(i) {
			t.Fatalf("record of %d bytes at %d: the word at %d is one of position %d", len(rec.Data), rec.Pos, i, got-uint64(i))
		}
	}
}
