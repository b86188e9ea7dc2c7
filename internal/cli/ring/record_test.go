package ring

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
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
		if err := (&recordFile{File: file}).remove(new(stream.Recorder)); err != nil {
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

// Records do not go to the FIFO of another user, and not over a file.
func TestOnlyOwnFIFOsAreOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f, err := openSpecial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := openSpecial(t.Context(), path); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("the FIFO of another user: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSpecial(t.Context(), file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file: %v", err)
	}
	// Without a reader, opening a FIFO waits.
	reader.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openSpecial(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if reader, err = os.OpenFile(path, os.O_RDWR, 0); err != nil { // ends the wait
		t.Fatal(err)
	}
	defer reader.Close()
}

// A series has one recorder, which removes its own files and not those of others.
func TestOnlyOneRecorderWritesASeries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.pcapng")
	first, err := openRecord(t.Context(), path, &recordOptions{rotate: 1, keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openRecord(t.Context(), path, &recordOptions{rotate: 1, keep: 1}); command.StatusOf(err) != command.StatusBusy {
		t.Errorf("a second recorder: %v", err)
	}
	other, err := newSeries(path, 1).create() // as if both began at once
	if err != nil {
		t.Fatal(err)
	}
	files := func(want ...string) {
		t.Helper()
		got, _ := filepath.Glob(strings.Replace(path, ".", "-*.", 1))
		for i := range got {
			got[i] = filepath.Base(got[i])
		}
		if !slices.Equal(got, want) {
			t.Errorf("files %q, want %q", got, want)
		}
	}
	files("s-000001.pcapng", "s-000002.pcapng")
	if _, err := first.next(); err != nil {
		t.Fatal(err)
	}
	files("s-000002.pcapng", "s-000003.pcapng")
	if err := errors.Join(first.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	if last, err := openRecord(t.Context(), path, &recordOptions{rotate: 1, keep: 1}); err != nil || last.Close() != nil {
		t.Errorf("after them: %v", err)
	}
	files("s-000004.pcapng")
}
