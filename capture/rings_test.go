package capture_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/capture"
)

// several returns a capture of three rings, the last of which comes late and the first of which ends early.
func several(tb testing.TB) []byte {
	tb.Helper()
	file := capture.AppendSection(nil, section())
	add := func(ring int, name string) {
		var err error
		file, err = capture.AppendRing(file, ring, capture.Info{Name: name, ID: ebpf.MapID(ring + 7), Type: ebpf.RingBuf, Types: types(tb)})
		if err != nil {
			tb.Fatal(err)
		}
	}
	at := time.Unix(1_700_000_000, 0)
	record := func(ring int, pos uint64) {
		file = capture.AppendRecord(file, capture.Record{Ring: ring, Pos: pos, Time: at, Data: []byte{byte(ring)}})
		at = at.Add(time.Second)
	}
	add(0, "cpu0")
	add(1, "cpu1")
	record(1, 0)
	record(0, 0)
	file = capture.AppendEnd(file, capture.End{Ring: 0, Time: at, Pos: 16, Records: 1, Lost: 8})
	add(2, "cpu2")
	record(2, 0)
	record(1, 16)
	file = capture.AppendEnd(file, capture.End{Ring: 1, Time: at.Add(2 * time.Second), Pos: 32, Records: 2, Discarded: 3})
	return capture.AppendEnd(file, capture.End{Ring: 2, Time: at, Pos: 16, Records: 1, Lost: 1})
}

func TestACaptureHasSeveralRings(t *testing.T) {
	file := several(t)
	r, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var rec capture.Record
	for {
		if rec, err = r.Next(); err != nil {
			break
		}
		info := r.Info()
		names = append(names, info.Name)
		if rec.Data[0] != byte(rec.Ring) || info.ID != ebpf.MapID(rec.Ring+7) || info.Types == nil || info.Section != section() {
			t.Errorf("record %+v of %+v", rec, info)
		}
	}
	if want := []string{"cpu1", "cpu0", "cpu2", "cpu1"}; err != io.EOF || !slices.Equal(names, want) {
		t.Errorf("rings %q, want %q; %v", names, want, err)
	}
	rings := r.Rings()
	if len(rings) != 3 || rings[2].Name != "cpu2" || rings[0].Types != rings[2].Types {
		t.Errorf("%d rings, or they do not share their types", len(rings))
	}
	want := capture.End{Ring: 1, Time: time.Unix(1_700_000_006, 0), Pos: 32, Records: 4, Discarded: 3, Lost: 9}
	if end := r.End(); end == nil || *end != want || r.Offset() != int64(len(file)) {
		t.Errorf("end %+v, want %+v; offset %d of %d", end, want, r.Offset(), len(file))
	}
}

// A capture is unfinished until all its rings have ended.
func TestACaptureEndsWithItsLastRing(t *testing.T) {
	file := several(t)
	short := file[:len(file)-len(capture.AppendEnd(nil, capture.End{}))]
	r, list, err := read(short)
	if len(list) != 4 || !errors.Is(err, capture.ErrUnfinished) || r.End() != nil || r.Offset() != int64(len(short)) {
		t.Errorf("%d records, %v, end %v", len(list), err, r.End())
	}
}

// After a truncated capture another one can follow at the Offset.
func TestATruncatedCaptureCanBeContinued(t *testing.T) {
	file, ends := write(t, true)
	r, _, err := read(file[:ends[3]-1])
	if !errors.Is(err, capture.ErrUnfinished) || r.Offset() != int64(ends[2]) {
		t.Fatalf("%v, offset %d, want %d", err, r.Offset(), ends[2])
	}
	_, list, err := read(append(file[:r.Offset():r.Offset()], several(t)...))
	if err != io.EOF || len(list) != 3+4 {
		t.Errorf("%d records, %v", len(list), err)
	}
}
