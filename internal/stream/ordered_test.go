package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/rbtool/rbtool/consumer"
)

// passes is a Source whose passes have records with these keys. It ends after the last pass.
type passes struct {
	keys [][]uint64
	size int // of a record, in bytes
}

func (p *passes) Wait(ctx context.Context) error {
	if len(p.keys) == 0 {
		return io.EOF
	}
	return ctx.Err()
}

func (p *passes) Pass(int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		if len(p.keys) == 0 {
			return
		}
		for len(p.keys[0]) > 0 {
			if !yield(consumer.Record{Data: binary.LittleEndian.AppendUint64(make([]byte, 0, max(8, p.size)), p.keys[0][0])}) {
				return
			}
			p.keys[0] = p.keys[0][1:]
		}
		p.keys = p.keys[1:]
	}
}

func (*passes) Err() error     { return nil }
func (*passes) Close() error   { return nil }
func (*passes) Totals() Totals { return Totals{} }

func keyOf(rec consumer.Record) uint64 { return binary.LittleEndian.Uint64(rec.Data) }

// yielded makes one pass and returns the keys of its records, at most n.
func yielded(o *Ordered, n int) (keys []uint64) {
	for rec := range o.Pass(0) {
		if len(keys) == n {
			break
		}
		keys = append(keys, keyOf(rec))
	}
	return keys
}

func TestOrdered(t *testing.T) {
	const most = 1 << 64 // as an untyped constant, most - 1 is the greatest key
	for _, tt := range []struct {
		rule   string
		window time.Duration
		keys   [][]uint64
		want   [][]uint64 // by pass, the last one at the end
		late   uint64
	}{
		{"without a window, a pass is sorted", 0, [][]uint64{{3, 1, 2}, {5, 4}}, [][]uint64{{1, 2, 3}, {4, 5}}, 0},
		{"what comes too late is yielded and counted", 0, [][]uint64{{3, 7}, {5, 8, 6}}, [][]uint64{{3, 7}, {5, 6, 8}}, 2},
		{"within the window, passes are merged", time.Hour, [][]uint64{{3, 7}, {5, 8, 6}, {1}}, [][]uint64{nil, nil, nil, {1, 3, 5, 6, 7, 8}}, 0},
		{"all keys are possible", 0, [][]uint64{{most - 1, 0}, {most - 1}}, [][]uint64{{0, most - 1}, {most - 1}}, 0},
	} {
		o := NewOrdered(&passes{keys: tt.keys}, keyOf, tt.window)
		for i, want := range tt.want {
			err := o.Wait(t.Context())
			if got := yielded(o, 99); !slices.Equal(got, want) || err != nil {
				t.Errorf("%s: pass %d has %d, %v; want %d", tt.rule, i, got, err, want)
			}
		}
		if err := o.Wait(t.Context()); err != io.EOF || o.Late() != tt.late || o.Held() != 0 {
			t.Errorf("%s: %v, %d late, %d held", tt.rule, err, o.Late(), o.Held())
		}
	}
}

// A cancelled wait makes all records due. One at which a pass ends stays, and is due at once.
func TestOrderedEnds(t *testing.T) {
	o := NewOrdered(&passes{keys: [][]uint64{{3, 1, 2}, {}, {}}}, keyOf, time.Hour)
	if got := yielded(o, 99); len(got) > 0 || o.Held() != 3 {
		t.Errorf("records %d before their time, %d held", got, o.Held())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, want := range [][]uint64{{1, 2}, {3}} {
		if err := o.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got := yielded(o, 2); !slices.Equal(got, want) {
			t.Errorf("records %d, want %d", got, want)
		}
	}
}

// Records that wait for their turn end a wait for others.
func TestOrderedWaitsForTurns(t *testing.T) {
	src := ObserveRings()
	src.Grows = true // without rings, it waits for ever
	defer src.Close()
	o := NewOrdered(src, keyOf, time.Millisecond)
	o.hold(consumer.Record{Data: make([]byte, 8)})
	o.turns = []turn{{at: time.Now().Add(time.Millisecond)}}
	if err := o.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := yielded(o, 1); len(got) != 1 {
		t.Errorf("%d records are due", len(got))
	}
}

// The memory of records that wait is bounded: then the least are yielded early, and none is lost.
func TestOrderedIsBounded(t *testing.T) {
	const n = 200
	src, size := &passes{size: maxHeld / 100}, 0
	for i := range uint64(n) {
		src.keys = append(src.keys, []uint64{i ^ 1})
	}
	o := NewOrdered(src, keyOf, time.Hour)
	var got []uint64
	for o.Wait(t.Context()) == nil {
		got = append(got, yielded(o, n)...)
		size = max(size, o.bytes)
	}
	if len(got) != n || !slices.IsSorted(got) || size > maxHeld+2*src.size {
		t.Errorf("%d records of %d, at most %d bytes at a time: %d", len(got), n, size, got)
	}
}
