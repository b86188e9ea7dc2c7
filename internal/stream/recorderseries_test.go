package stream

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/capture"
)

// readCapture returns the reader of a capture after its end, and its records.
func readCapture(t *testing.T, file []byte) (*capture.Reader, []capture.Record) {
	t.Helper()
	r, err := capture.NewReader(bytes.NewReader(file))
	var list []capture.Record
	for err == nil {
		var rec capture.Record
		if rec, err = r.Next(); err == nil {
			rec.Data = bytes.Clone(rec.Data)
			list = append(list, rec)
		}
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return r, list
}

// unevenRecords returns 40 records, of which one is twice as long as limit and two are after lost ones.
func unevenRecords(limit int) []capture.Record {
	records := bytesAt(40)
	shift := uint64(0)
	for i := range records {
		records[i].Pos += shift
		switch i {
		case 7:
			records[i].Data = make([]byte, 2*limit)
			shift += 2*uint64(limit) - 8
		case 13, 30:
			records[i].Lost = 64
			records[i].Pos += 64
			shift += 64
		}
	}
	return records
}

// Each file of a series is a whole capture within the limit, unless a single record exceeds it, and together they have
// all records, losses and discarded records once.
func TestASeriesOfFilesIsOneCapture(t *testing.T) {
	const limit = 1000
	records := unevenRecords(limit)
	src := captureSource(t, recorded(t, records, true))
	files := []*bytes.Buffer{{}}
	rec := newRecorder(t, files[0], src)
	gone := Totals{Lost: 3, Discarded: 2}
	if _, err := rec.Add(func() Totals { return gone }, capture.Info{Name: "gone", Type: ebpf.RingBuf}); err != nil {
		t.Fatal(err)
	}
	if err := rec.End(1); err != nil {
		t.Fatal(err)
	}
	rec.Limit = limit
	rec.Next = func() (io.Writer, error) {
		files = append(files, new(bytes.Buffer))
		return files[len(files)-1], nil
	}
	s := Stream{Source: src, Sink: rec, Batch: 11}
	if err := errors.Join(s.Run(t.Context()), rec.Finish()); err != nil {
		t.Fatal(err)
	}
	var sum capture.End
	var all []capture.Record
	next := uint64(0)
	for i, file := range files {
		r, list := readCapture(t, file.Bytes())
		if len(list) == 0 || len(list) > 1 && file.Len() > limit || r.Rings()[0].Start != next {
			t.Errorf("file %d has %d records in %d bytes, and begins at %d after %d", i, len(list), file.Len(), r.Rings()[0].Start, next)
		}
		if rings := len(r.Rings()); i > 0 && rings != 1 {
			t.Errorf("file %d has %d rings", i, rings)
		}
		end := r.End()
		next = end.Pos
		sum.Records += end.Records
		sum.Lost += end.Lost
		sum.Discarded += end.Discarded
		for _, rec := range list {
			sum.Lost += rec.Lost
		}
		all = append(all, list...)
	}
	if len(files) < 4 || sum.Records != 40 || sum.Lost != 2*64+5+gone.Lost || sum.Discarded != gone.Discarded {
		t.Errorf("%d files, together %+v", len(files), sum)
	}
	for i, rec := range all {
		if want := records[i]; rec.Pos != want.Pos || !bytes.Equal(rec.Data, want.Data) {
			t.Errorf("record %d: %+v, want %+v", i, rec, want)
		}
	}
}

// If a file cannot be written, or the next one not opened, Flush says so, and HasRecord is about the file that is open.
func TestASeriesEndsWithAnError(t *testing.T) {
	src := captureSource(t, recorded(t, bytesAt(40), true))
	var file bytes.Buffer
	rec := newRecorder(t, &file, src)
	failed := errors.New("no more files")
	rec.Limit, rec.Next = 600, func() (io.Writer, error) { return nil, failed }
	s := Stream{Source: src, Sink: rec}
	if err := s.Run(t.Context()); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if _, list := readCapture(t, file.Bytes()); len(list) == 0 || !rec.HasRecord(int64(file.Len())) || rec.HasRecord(100) {
		t.Errorf("%d records in %d bytes", len(list), file.Len())
	}
}
