package ring

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rbtool/rbtool/internal/stream"
)

func TestAFailedRecordingRemovesOnlyItsOwnFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := errors.Join(os.Rename(path, path+".moved"), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{nil, fs.ErrNotExist} {
		if err := removeEmpty(file, new(stream.Recorder)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, want) {
			t.Errorf("after it: %v, want %v", err, want)
		}
		if err := os.Rename(path+".moved", path); want == nil && err != nil {
			t.Fatal(err)
		}
	}
}
