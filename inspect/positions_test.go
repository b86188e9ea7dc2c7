package inspect

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/ring"
)

// script is a ring whose loads return the listed positions in turn. The last value of a list repeats.
type script struct {
	consumer, producer, overwrite []uint64
}

func next(values *[]uint64) uint64 {
	v := (*values)[0]
	if len(*values) > 1 {
		*values = (*values)[1:]
	}
	return v
}

func (s *script) ConsumerPos() ring.Pos  { return ring.Pos(next(&s.consumer)) }
func (s *script) ProducerPos() ring.Pos  { return ring.Pos(next(&s.producer)) }
func (s *script) OverwritePos() ring.Pos { return ring.Pos(next(&s.overwrite)) }

func TestPositions(t *testing.T) {
	const size = 4096
	const contradict = "contradict each other"
	running := func(step uint64) (values []uint64) {
		for i := range uint64(4 * tries) {
			values = append(values, i*step)
		}
		return values
	}
	for _, tt := range []struct {
		name    string
		ring    script
		backlog uint64
		note    string
	}{
		{"an empty ring", script{consumer: []uint64{512}, producer: []uint64{512}}, 0, ""},
		{"a backlog", script{consumer: []uint64{512}, producer: []uint64{1536}}, 1024, ""},
		{"a full ring", script{consumer: []uint64{512}, producer: []uint64{512 + size}}, size, ""},
		{"a consumer that moved is read again",
			script{consumer: []uint64{0, 4096, 4096}, producer: []uint64{8192}}, size, ""},
		{"a consumer that moved, then stood still",
			script{consumer: []uint64{0, 4096, 4096}, producer: []uint64{4096, 5120}}, 1024, ""},
		{"a consumer that never stands still: the backlog is at most the size",
			script{consumer: running(8), producer: []uint64{1 << 20}}, size, ""},
		{"positions that wrap", script{consumer: []uint64{1<<64 - 8}, producer: []uint64{16}}, 24, ""},
		{"a consumer ahead of its producer", script{consumer: []uint64{1024}, producer: []uint64{1016}}, 0, contradict},
		{"a moving consumer ahead of its producer", script{consumer: running(1024), producer: []uint64{0}}, 0, contradict},
		{"more than fits", script{consumer: []uint64{0}, producer: []uint64{size + 8}}, size, contradict},
		{"much more than fits", script{consumer: []uint64{0}, producer: []uint64{1<<63 - 1}}, size, contradict},

		{"overwrite mode, nothing overwritten",
			script{consumer: []uint64{8}, producer: []uint64{24}, overwrite: []uint64{0}}, 16, ""},
		{"overwrite mode, the consumer's records overwritten",
			script{consumer: []uint64{8}, producer: []uint64{9000}, overwrite: []uint64{8000}}, 1000, ""},
		{"overwrite mode, positions that wrap",
			script{consumer: []uint64{1<<64 - 4096}, producer: []uint64{64}, overwrite: []uint64{16}}, 48, ""},
		{"overwrite mode, overwritten again between two loads",
			script{consumer: []uint64{8}, producer: []uint64{20000}, overwrite: []uint64{8000}}, size, ""},
		{"overwrite mode, a consumer ahead of its producer",
			script{consumer: []uint64{9008}, producer: []uint64{9000}, overwrite: []uint64{8000}}, 0, contradict},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.ring
			p, note := reading{ring: &s, size: size, overwrite: s.overwrite != nil}.positions()
			if p.Backlog != tt.backlog || p.Fill != float64(tt.backlog)/size {
				t.Errorf("backlog %d, fill %v, want %d", p.Backlog, p.Fill, tt.backlog)
			}
			if (note == "") != (tt.note == "") || !strings.Contains(note, tt.note) {
				t.Errorf("note %q, want %q", note, tt.note)
			}
			if (p.Overwrite != nil) != (s.overwrite != nil) {
				t.Errorf("overwrite position %v", p.Overwrite)
			}
		})
	}
}

func TestBusy(t *testing.T) {
	const size = 4096
	for _, tt := range []struct {
		name string
		head ring.Header
		ring script
		want *Busy
		note string
	}{
		{"a committed record", 16, script{consumer: []uint64{0}, producer: []uint64{24}}, nil, ""},
		{"a discarded record", 16 | ring.DiscardBit, script{consumer: []uint64{0}, producer: []uint64{24}}, nil, ""},
		{"a busy record given up by another process", 16 | ring.BusyBit | ring.DiscardBit, script{consumer: []uint64{0}, producer: []uint64{24}}, nil, ""},
		{"a busy record", 16 | ring.BusyBit, script{consumer: []uint64{0}, producer: []uint64{48}}, &Busy{0, 16}, ""},
		{"an empty ring", 16 | ring.BusyBit, script{consumer: []uint64{0}, producer: []uint64{0}}, nil, ""},
		{"an empty record", ring.BusyBit, script{consumer: []uint64{0}, producer: []uint64{8}}, &Busy{0, 0}, ""},
		{"one consumed meanwhile", 16 | ring.BusyBit, script{consumer: []uint64{0, 0, 24}, producer: []uint64{48}}, nil, ""},
		{"one overwritten meanwhile", 16 | ring.BusyBit,
			script{consumer: []uint64{0}, producer: []uint64{48}, overwrite: []uint64{0, 24}}, nil, ""},
		{"a record beyond the producer", 17 | ring.BusyBit, script{consumer: []uint64{0}, producer: []uint64{24}}, nil,
			"no record at position 0: a length of 17 bytes goes beyond producer_pos"},
		{"the longest length", 1<<30 - 1 | ring.BusyBit, script{consumer: []uint64{0}, producer: []uint64{24}}, nil,
			"no record at position 0: a length of 1073741823 bytes goes beyond producer_pos"},
		{"a position between records", 16 | ring.BusyBit, script{consumer: []uint64{4}, producer: []uint64{28}}, nil,
			"no record begins at position 4: it is not a multiple of 8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.ring
			r := reading{ring: &s, size: size, overwrite: s.overwrite != nil}
			p, note := r.positions()
			if note != "" {
				t.Fatal(note)
			}
			got, note := r.busy(*p, func(uint64) (ring.Header, error) { return tt.head, nil })
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if note != tt.note {
				t.Errorf("note %q, want %q", note, tt.note)
			}
		})
	}
}
