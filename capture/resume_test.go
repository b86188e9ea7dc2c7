package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/testenv"
)

// rest returns the records that r has, and the error that follows them.
func rest(r *capture.Reader) (list []capture.Record, err error) {
	for {
		rec, err := r.Next()
		if err != nil {
			return list, err
		}
		rec.Data = bytes.Clone(rec.Data)
		if rec.Data == nil {
			rec.Data = []byte{}
		}
		list = append(list, rec)
	}
}

// readOn returns all records of a file that can be read, beyond damage to it.
func readOn(file []byte) (*capture.Reader, []capture.Record, error) {
	r, list, err := read(file)
	for r != nil && r.Resume() {
		var more []capture.Record
		more, err = rest(r)
		list = append(list, more...)
	}
	return r, list, err
}

func TestDamageTakesOneRecord(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	file, ends := write(t, true)
	for at := ends[0]; at < ends[len(ends)-1]; at++ {
		want := records()
		for i, end := range ends {
			if at < end {
				want = append(want[:i], want[i+1:]...)
				break
			}
		}
		for _, bad := range []byte{0xff, file[at] ^ 0x40, 0} {
			damaged := bytes.Clone(file)
			damaged[at] = bad
			_, got, err := readOn(damaged)
			if err != io.EOF {
				t.Fatalf("byte %d is %#x: %v", at, bad, err)
			}
			for _, rec := range want {
				found := false
				for _, r := range got {
					found = found || cmp.Equal(r, rec)
				}
				if !found {
					t.Fatalf("byte %d is %#x: record at %d is missing", at, bad, rec.Pos)
				}
			}
		}
	}
}

func TestReadingResumesAtTheNextCapture(t *testing.T) {
	file, ends := write(t, true)
	for name, tt := range map[string]struct {
		damaged []byte
		records int
	}{
		"cut":           {file[:ends[2]-7], 2},
		"bytes missing": {append(bytes.Clone(file[:ends[0]+3]), file[ends[0]+5:]...), 5},
		"zeros":         {append(append(bytes.Clone(file[:ends[1]]), make([]byte, 3<<20)...), file[ends[1]:]...), 6},
		"types":         {bytes.Replace(file, []byte("\x62\x72\x00\x80"), []byte("\x62\x72\x00\x81"), 1), 6},
	} {
		r, got, err := readOn(append(bytes.Clone(tt.damaged), file...))
		if len(got) != tt.records+6 || err != io.EOF || r.Part() != 1 {
			t.Errorf("%s: %d records, want %d; part %d, %v", name, len(got), tt.records+6, r.Part(), err)
		}
		if r.Resume() {
			t.Errorf("%s: reading resumes after the end", name)
		}
	}
}

// A ring has the number of its description. If one is missing, those of later rings are unknown.
func TestNoRecordIsOfAnotherRing(t *testing.T) {
	file := several(t)
	names := func(file []byte) (list []string) {
		r, err := capture.NewReader(bytes.NewReader(file))
		if err != nil {
			return nil
		}
		for {
			rec, err := r.Next()
			if err == nil {
				list = append(list, fmt.Sprintf("%s %q", r.Info().Name, rec.Data))
			} else if !r.Resume() {
				return list
			}
		}
	}
	all := map[string]bool{}
	for _, rec := range names(file) {
		all[rec] = true
	}
	for at := range file {
		damaged := bytes.Clone(file)
		damaged[at] ^= 0x10
		_, _, err := read(damaged)
		if !errors.Is(err, capture.ErrFormat) && !errors.Is(err, capture.ErrUnfinished) {
			continue // the byte is part of a name or of a record
		}
		for _, rec := range names(damaged) {
			if !all[rec] {
				t.Fatalf("byte %d: %s", at, rec)
			}
		}
	}
}
