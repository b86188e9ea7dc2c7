package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// recordFile is the file of a recording, or one of a series of them.
type recordFile struct {
	*os.File
	kept   int64   // bytes of earlier captures in the file
	cut    int64   // bytes after them that were no whole record
	series *series // nil for a single file
}

// openRecord opens the file to which a capture goes: a new one, or as opts say the end of an existing one or the
// next one of a series. A FIFO or a device can exist already; opening a FIFO waits for its reader, until ctx is done.
func openRecord(ctx context.Context, path string, opts *recordOptions) (*recordFile, error) {
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir() || opts.rotate > 0 && strings.HasSuffix(path, "/"):
		return nil, command.WithHint(fmt.Errorf("open %s: it is a directory", path), "name a file in it: %s", filepath.Join(path, "events.pcapng"))
	case opts.rotate > 0:
		s := newSeries(path, int(opts.keep))
		if err := s.check(); err != nil {
			return nil, err
		}
		return s.create()
	case err == nil && !info.Mode().IsRegular():
		f, err := openSpecial(ctx, path)
		return &recordFile{File: f}, err
	case opts.append:
		return openToAppend(path)
	}
	f, err := create(path)
	if errors.Is(err, fs.ErrExist) {
		err = command.WithHint(err, "--append adds to a capture; --rotate 100MiB writes files with numbers")
	}
	return &recordFile{File: f}, err
}

// create creates a file that must not exist.
func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return f, lock(f)
}

// lock keeps other recorders from appending to f. It closes f if another one has it.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = command.WithStatus(errors.New("another process records to it"), command.StatusBusy)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// openSpecial opens a FIFO or a device.
func openSpecial(ctx context.Context, path string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			err = checkSpecial(f)
		}
		done <- opened{f, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case o := <-done:
		return o.f, o.err
	}
}

// checkSpecial returns an error, and closes f, if f is a file, or a FIFO of another user: in a directory that all
// can write, another user may wait for records there.
func checkSpecial(f *os.File) error {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	switch kind := st.Mode & unix.S_IFMT; {
	case err != nil:
	case kind == unix.S_IFREG:
		err = fs.ErrExist
	case kind == unix.S_IFIFO && st.Uid != 0 && int(st.Uid) != os.Geteuid():
		err = errors.New("the FIFO belongs to another user")
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("open %s: %w", f.Name(), err)
	}
	return nil
}

// openToAppend opens a capture to add another one, or creates it.
func openToAppend(path string) (*recordFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, err
	}
	kept, cut, err := endOfCaptures(f)
	if err == nil {
		err = f.Truncate(kept)
	}
	if err == nil {
		_, err = f.Seek(kept, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("append to %s: %w", path, err)
	}
	return &recordFile{File: f, kept: kept, cut: cut}, nil
}

// next opens the next file of a series, after this one.
func (r *recordFile) next() (io.Writer, error) {
	f, err := r.series.create()
	if err != nil {
		return nil, err
	}
	err = r.File.Close()
	r.File = f.File
	return r.File, err
}

// remove removes the file of a failed recording if it has no whole record: the next attempt can then create it. It
// does not remove a different file that now has that name, a FIFO or earlier captures in the file.
func (r *recordFile) remove(rec *stream.Recorder) error {
	ours, err := r.Stat()
	if err != nil || !ours.Mode().IsRegular() || rec.HasRecord(ours.Size()-r.kept) {
		return err
	}
	if r.kept > 0 {
		return r.Truncate(r.kept)
	}
	there, err := os.Lstat(r.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(ours, there) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(r.Name())
}

// endOfCaptures returns where in f another capture can begin: after all of it, or after the last whole record if
// the last capture was truncated. It also returns how many bytes follow there. Both are 0 for an empty file.
func endOfCaptures(f *os.File) (end, rest int64, err error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, 0, err
	}
	r, err := newCaptureReader(f)
	for err == nil {
		_, err = r.Next()
	}
	if err != io.EOF && !errors.Is(err, capture.ErrUnfinished) {
		return 0, 0, err
	}
	return r.Offset(), info.Size() - r.Offset(), nil
}
