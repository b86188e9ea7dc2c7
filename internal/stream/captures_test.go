package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/capture"
)

// captureFile returns a file of a ring whose records have the given times in seconds, and as data the name and the time.
func captureFile(t *testing.T, name string, finished bool, seconds ...int64) *CaptureFile {
	t.Helper()
	r, err := capture.NewReader(bytes.NewReader(captureOf(t, name, finished, seconds...)))
	if err != nil {
		t.Fatal(err)
	}
	return &CaptureFile{Reader: r, Name: name}
}

// captureOf returns the content of a file for captureFile.
func captureOf(t *testing.T, name string, finished bool, seconds ...int64) []byte {
	t.Helper()
	buf, err := capture.AppendHeader(nil, capture.Info{Name: name, Type: ebpf.RingBuf})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range seconds {
		buf = capture.AppendRecord(buf, capture.Record{Pos: uint64(16 * i), Time: time.Unix(s, 0), Lost: 1, Data: []byte{name[0], '0' + byte(s)}})
	}
	if finished {
		buf = capture.AppendEnd(buf, capture.End{Lost: 100, Discarded: 7})
	}
	return buf
}

// All captures of a file count: those before the last one can be unfinished, too, and have losses at their end.
func TestCapturesInOneFileCount(t *testing.T) {
	for _, first := range []bool{true, false} {
		file := append(captureOf(t, "a", first, 1, 2), captureOf(t, "b", true, 3)...)
		r, err := capture.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		src, n := NewCaptures(&CaptureFile{Reader: r}), 0
		for src.Wait(t.Context()) == nil {
			for range src.Pass(0) {
				n++
			}
		}
		ends, unfinished := uint64(2), 0
		if !first {
			ends, unfinished = 1, 1
		}
		if got := src.Totals(); n != 3 || got.Lost != 3+ends*100 || got.Discarded != ends*7 || len(src.Unfinished()) != unfinished {
			t.Errorf("the first one finished: %t: %d records, %+v, %d unfinished files", first, n, got, len(src.Unfinished()))
		}
	}
}

func TestCapturesAreMergedByTime(t *testing.T) {
	src := NewCaptures(captureFile(t, "a", true, 1, 4, 4, 9), captureFile(t, "b", false, 2, 4, 3), captureFile(t, "c", true))
	var rings []string
	src.Ring = func(info capture.Info) (int, error) {
		rings = append(rings, info.Name)
		return len(rings) - 1, nil
	}
	src.Keep = func(ring int, rec *capture.Record) bool { return rings[ring] != "a" || rec.Time.Unix() != 9 }
	var got []string
	for {
		err := src.Wait(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for rec := range src.Pass(2) {
			if rings[rec.Ring] != string(rec.Data[0]) || src.Current().Name != rings[rec.Ring] || src.Time().Unix() != int64(rec.Data[1]-'0') {
				t.Errorf("%s in ring %d, at %v", rec.Data, rec.Ring, src.Time())
			}
			if len(got) == 3 && got[2] != "again" {
				got = append(got[:2], "again") // this record stays in the source
				break
			}
			got = append(got, string(rec.Data))
		}
	}
	// The third record of b is earlier than its second one, and stays behind it.
	if s := strings.Join(got, " "); s != "a1 b2 again a4 b4 b3" {
		t.Errorf("the records are %s", s)
	}
	if u := src.Unfinished(); len(u) != 1 || u[0].Name != "b" || u[0].Records != 3 {
		t.Errorf("%d unfinished files", len(u))
	}
	if total := src.Totals(); total.Lost != 7+200 || total.Discarded != 14 {
		t.Errorf("%+v", total)
	}
}

func TestAnErrorNamesItsCapture(t *testing.T) {
	good, bad := captureFile(t, "good", true, 1, 2, 3), captureFile(t, "bad", true, 1)
	broken := bytes.NewReader(append(capture.AppendSection(nil, capture.Section{}), "\x06\x00\x00\x00\x03\x00\x00\x00"...))
	header, err := capture.AppendHeader(nil, capture.Info{Type: ebpf.RingBuf})
	if err != nil {
		t.Fatal(err)
	}
	header = capture.AppendRecord(header, capture.Record{Time: time.Unix(2, 0)})
	if bad.Reader, err = capture.NewReader(io.MultiReader(bytes.NewReader(header), broken)); err != nil {
		t.Fatal(err)
	}
	whole := len(header) + len(capture.AppendSection(nil, capture.Section{}))
	src := NewCaptures(good, bad)
	n := 0
	for err = src.Wait(t.Context()); err == nil; err = src.Wait(t.Context()) {
		for range src.Pass(0) {
			n++
		}
	}
	if !errors.Is(err, capture.ErrFormat) || !strings.HasPrefix(err.Error(), fmt.Sprintf("bad: damaged after 1 records, at byte %d: ", whole)) || n != 4 {
		t.Errorf("%d records, %v", n, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	src = NewCaptures(captureFile(t, "a", true, 1))
	if err := src.Wait(canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	src.Close()
	if err := src.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	for range src.Pass(0) {
		t.Error("a record of a closed source")
	}
}
