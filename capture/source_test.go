package capture_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
)

func TestAReaderIsASource(t *testing.T) {
	file, _ := write(t, true)
	r, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var src consumer.Source = r
	for rec := range src.Pass(0) { // the record at which the loop ends stays unread
		if rec.Pos != records()[0].Pos {
			t.Errorf("position %d", rec.Pos)
		}
		break
	}
	var got [][]byte
	for err == nil {
		if err = src.Wait(t.Context()); err != nil {
			break
		}
		for rec := range src.Pass(2) {
			if last := r.Last(); last.Pos != rec.Pos || !last.Time.Equal(records()[len(got)].Time) {
				t.Errorf("last %+v", last)
			}
			got = append(got, bytes.Clone(rec.Data))
		}
		err = src.Err()
	}
	if err != io.EOF || len(got) != len(records()) || !bytes.Equal(got[4], records()[4].Data) {
		t.Errorf("%v after %d records", err, len(got))
	}
}

func TestAClosedReaderDoesNotWait(t *testing.T) {
	file, _ := write(t, true)
	r, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Wait(canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := r.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	for range r.Pass(0) {
		t.Error("a record")
	}
}
