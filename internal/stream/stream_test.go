package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/filter"
)

// recorded returns a capture of records as bytes. It has an end block if finished is set.
func recorded(t *testing.T, records []capture.Record, finished bool) []byte {
	t.Helper()
	buf, err := capture.AppendHeader(nil, capture.Info{Name: "events", Type: ebpf.RingBuf, Size: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		buf = capture.AppendRecord(buf, rec)
	}
	if finished {
		buf = capture.AppendEnd(buf, capture.End{Records: uint64(len(records)), Lost: 5})
	}
	return buf
}

func captureSource(t *testing.T, file []byte) *Captures {
	t.Helper()
	r, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return NewCaptures(&CaptureFile{Reader: r})
}

// bytesAt returns n records of one byte each, one second apart.
func bytesAt(n int) (records []capture.Record) {
	for i := range n {
		records = append(records, capture.Record{
			Pos: uint64(16 * i), Time: time.Unix(int64(i), 0), Data: []byte{byte(i)},
		})
	}
	return records
}

func hexWriter(w io.Writer) *Writer { return &Writer{W: w, Format: NewFormat(Hex, FormatOptions{})} }

func TestAStreamEndsWithItsSource(t *testing.T) {
	src := captureSource(t, recorded(t, bytesAt(3), true))
	var out strings.Builder
	s := Stream{Source: src, Sink: hexWriter(&out)}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "00\n01\n02\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if diff := gocmp.Diff(Stats{Seen: 3, Taken: 3, Bytes: 3}, s.Stats()); diff != "" {
		t.Errorf("stats, -want +got:\n%s", diff)
	}
	if lost := src.Totals().Lost; lost != 5 {
		t.Errorf("%d bytes lost, want the 5 of the capture's end", lost)
	}
}

func TestRecordsBeforeACutAreFlushed(t *testing.T) {
	var out strings.Builder
	src := captureSource(t, recorded(t, bytesAt(2), false))
	s := Stream{Source: src, Sink: hexWriter(&out)}
	if err := s.Run(t.Context()); err != nil || out.String() != "00\n01\n" || len(src.Unfinished()) != 1 {
		t.Errorf("got %q, %v; %d files are unfinished, want 1", out.String(), err, len(src.Unfinished()))
	}
}

func TestLimitsCountWhatPassesTheFilter(t *testing.T) {
	odd, err := filter.New("seq % 2 == 1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var watched int
	s := Stream{
		Source: captureSource(t, recorded(t, bytesAt(100), true)), Sink: hexWriter(&out), Filter: odd,
		Watch: func(consumer.Record) { watched++ }, Limits: Limits{Records: 3}, Batch: 4,
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out.String() != "00\n02\n04\n" || watched != 5 {
		t.Errorf("got %q after %d records", out.String(), watched)
	}
}

func TestACancelledStreamMovesWhatIsThere(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	s := Stream{Source: captureSource(t, recorded(t, bytesAt(2), true)), Sink: hexWriter(&out)}
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) || out.String() != "00\n01\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// fussy is a Sink whose Append fails once, at a given record.
type fussy struct {
	*Writer
	at  uint64
	err error
}

func (f *fussy) Append(ctx context.Context, rec *Record) error {
	if err := f.err; rec.Seq == f.at && err != nil {
		f.err = nil
		return err
	}
	return f.Writer.Append(ctx, rec)
}

func TestARecordThatASinkRefusesStaysInTheSource(t *testing.T) {
	var out strings.Builder
	broken := errors.New("broken")
	sink := &fussy{hexWriter(&out), 2, broken}
	s := Stream{Source: captureSource(t, recorded(t, bytesAt(3), true)), Sink: sink}
	if err := s.Run(t.Context()); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "00\n01\n02\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// stamps is a Sink that notes when it gets records and when they are flushed.
type stamps struct {
	began time.Time
	log   strings.Builder
}

func (s *stamps) Append(_ context.Context, rec *Record) error {
	fmt.Fprintf(&s.log, "%x at %v, ", rec.Data, time.Since(s.began))
	return nil
}

func (s *stamps) Flush() error {
	fmt.Fprint(&s.log, "flush, ")
	return nil
}

func TestPacedKeepsTheIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := captureSource(t, recorded(t, bytesAt(3), true))
		sink := &stamps{began: time.Now()}
		s := Stream{Source: src, Sink: &Paced{Sink: sink, Time: src.Time}}
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := sink.log.String(), "00 at 0s, flush, 01 at 1s, flush, 02 at 2s, flush, "; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func TestAPacedStreamCanBeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		src := captureSource(t, recorded(t, bytesAt(3), true))
		sink := &stamps{began: time.Now()}
		s := Stream{Source: src, Sink: &Paced{Sink: sink, Time: src.Time}}
		if err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || s.Stats().Taken != 2 {
			t.Errorf("%d records, %v", s.Stats().Taken, err)
		}
	})
}

// A recorder that reads from a capture writes an identical capture, with the same losses.
func TestARecorderKeepsPositionsAndLosses(t *testing.T) {
	want := bytesAt(4)
	want[2].Pos, want[2].Lost = want[2].Pos+64, 64
	want[3].Pos += 64
	src := captureSource(t, recorded(t, want, true))
	var file bytes.Buffer
	rec := newRecorder(t, &file, src)
	s := Stream{Source: src, Sink: rec}
	if err := errors.Join(s.Run(t.Context()), rec.Finish()); err != nil {
		t.Fatal(err)
	}
	r, err := capture.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	var got []capture.Record
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rec.Data = bytes.Clone(rec.Data)
		rec.Time = want[len(got)].Time // a recorder sets its own times: do not compare them
		got = append(got, rec)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if end := r.End(); end == nil || end.Lost != 5 || end.Records != 4 {
		t.Errorf("end %+v", end)
	}
}

func TestRecentKeepsTheLastRecords(t *testing.T) {
	r := NewRecent(3, 2)
	take := func() (data []string) {
		r.Take(func(rec *Record) { data = append(data, fmt.Sprintf("%d:%s", rec.Seq, rec.Data)) })
		return data
	}
	if got := take(); got != nil {
		t.Errorf("before the first record: %q", got)
	}
	for seq, data := range []string{"a", "bcd", "", "e", "f"} {
		rec := Record{Seq: uint64(seq) + 1}
		rec.Data = []byte(data)
		if err := r.Append(t.Context(), &rec); err != nil {
			t.Fatal(err)
		}
		if seq == 1 {
			if diff := gocmp.Diff([]string{"1:a", "2:bc"}, take()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
	}
	if diff := gocmp.Diff([]string{"3:", "4:e", "5:f"}, take()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := r.Take(func(*Record) {}); n != 5 {
		t.Errorf("%d records taken", n)
	}
}

// halves is a writer that writes only half of the bytes in each call.
type halves struct{ strings.Builder }

func (h *halves) Write(p []byte) (int, error) {
	n, _ := h.Builder.Write(p[:(len(p)+1)/2])
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestAWriterKeepsWhatWasNotWritten(t *testing.T) {
	var out halves
	w := hexWriter(&out)
	w.Buf = []byte("0123456789")
	for w.Flush() != nil {
	}
	if out.String() != "0123456789" {
		t.Errorf("wrote %q", out.String())
	}
}

func TestCheckBTF(t *testing.T) {
	for from, ok := range map[string]bool{"kernel": true, "a file": true, "prog:12": true, "prog:": false, "prog:x": false, "prog:4294967296": false} {
		if err := CheckBTF(from); (err == nil) != ok {
			t.Errorf("%s: %v", from, err)
		}
	}
}
