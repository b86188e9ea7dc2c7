package stream

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
)

// timed returns a record of ring with these numbers.
func timed(ring int, numbers ...uint64) consumer.Record {
	r := consumer.Record{Ring: ring}
	for _, n := range numbers {
		r.Data = binary.LittleEndian.AppendUint64(r.Data, n)
	}
	return r
}

func TestKeysOfRecords(t *testing.T) {
	host := decode.Host{Time: func(_ decode.Meaning, v uint64) (int64, bool) { return 1000 + int64(v), v < 500 }}
	byName := setOf(t, structOf("event", u64, "pid", "timestamp"))
	known, err := decode.NewCases([]decode.Case{{
		Type: structOf("event", u64, "timestamp", "at"), Options: decode.Options{Meanings: map[int]decode.Meaning{8: decode.Ktime}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	negative := setOf(t, structOf("event", &btf.Int{Name: "s64", Size: 8, Encoding: btf.Signed}, "pid"))
	for _, tt := range []struct {
		rule, field string
		types       *decode.Set // of ring 1
		has         bool
		records     []consumer.Record
		want        []uint64
	}{
		{"a name says what is a time", ByTime, nil, false, []consumer.Record{timed(0, 9, 7), timed(0, 9, 8)}, []uint64{1007, 1008}},
		{"a known time is better than a name", ByTime, known, true, []consumer.Record{timed(1, 9, 8), timed(0, 9, 7)}, []uint64{1008, 1007}},
		{"without a time, a record is as late as those before", ByTime, nil, false, []consumer.Record{timed(0, 9, 7), timed(1, 9, 8), timed(0, 1), timed(0, 0, 6), timed(0, 9, 600)}, []uint64{1007, 1007, 1007, 1006, 1007}},
		{"any field", "pid", negative, true, []consumer.Record{timed(0, 9, 7), timed(1, 1<<64-1), timed(1, 1)}, []uint64{9, 1<<63 - 1, 1<<63 + 1}},
	} {
		times := NewTimes(tt.field, host)
		if has := times.Set(1, tt.types); has != tt.has {
			t.Errorf("%s: ring 1 has the field: %v", tt.rule, has)
		}
		if !times.Set(0, byName) {
			t.Errorf("%s: ring 0 does not have the field", tt.rule)
		}
		for i, rec := range tt.records {
			if got := times.Key(rec); got != tt.want[i] {
				t.Errorf("%s: record %d has the key %d, want %d", tt.rule, i, got, tt.want[i])
			}
		}
	}
}

func TestSince(t *testing.T) {
	host := decode.Host{Time: func(_ decode.Meaning, v uint64) (int64, bool) { return int64(v), v != 5 }}
	times := NewTimes(ByTime, host)
	times.Set(0, setOf(t, structOf("event", u64, "timestamp")))
	src := &passes{keys: [][]uint64{{98, 5, 101}, {99, 100, 0}}}
	s := NewSince(src, times, time.Unix(0, 100))
	var got []uint64
	for s.Wait(t.Context()) != io.EOF {
		for rec := range s.Pass(0) {
			if got = append(got, keyOf(rec)); s.Time().IsZero() {
				t.Error("no time of reading")
			}
		}
	}
	if len(got) != 4 || got[0] != 5 || got[1] != 101 || got[2] != 100 || got[3] != 0 || s.Older() != 2 {
		t.Errorf("records %d, %d older", got, s.Older())
	}
}
