// Package usertypes keeps the record types that a user gave to rbtool types, in a file beside the user's
// configuration: rbtool/types in $XDG_CONFIG_HOME or ~/.config.
//
// Under sudo it is the file of the user who called sudo. A process of root acts on the file with the rights of the
// owner of the directory, so that another user's symbolic link leads it nowhere that this user could not go. Two
// processes can change the file at once. Readers see the file before or after a change, never in between.
package usertypes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/elffile"
)

// Entry is one remembered type.
type Entry struct {
	Map  string `json:"map"`            // name of the maps, as the kernel has it
	Size int64  `json:"size,omitempty"` // bytes of the records; 0 if records of any size have the type
	Type string `json:"type"`           // name of the type, for people
	Name string `json:"name,omitempty"` // name of the type in C; empty for the last struct
	C    string `json:"c"`              // the declarations
	From string `json:"from,omitempty"` // file from which they were read
}

// maxFile bounds the size of the file in bytes.
const maxFile = 16 << 20

// lockTime is how long Update waits for another process.
const lockTime = 5 * time.Second

var errLocked = fmt.Errorf("another process has been changing the file for %v", lockTime)

// File is the file of a user.
type File struct {
	// Path is the file's path.
	Path string

	owner *owner // whose rights are used; nil for those of the process
}

// Find returns the file of the user, which may not exist. It fails if the user has no home directory.
func Find() (File, error) {
	dir, owner, err := configDir()
	if err != nil {
		return File{}, fmt.Errorf("find the configuration of the user: %w", err)
	}
	return File{filepath.Join(dir, "rbtool", "types"), owner}, nil
}

// Read returns what the file has: nothing if it does not exist.
func (f File) Read() (entries []Entry, err error) {
	err = f.owner.do(func() error {
		entries, err = f.read()
		return err
	})
	return entries, err
}

func (f File) read() ([]Entry, error) {
	text, err := elffile.ReadFile(f.Path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var entries []Entry
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return entries, nil
}

// Update replaces what the file has by what change makes of it. If change fails, the file stays as it is.
func (f File) Update(change func([]Entry) ([]Entry, error)) error {
	return f.owner.do(func() error {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			return err
		}
		unlock, err := lock(f.Path + ".lock")
		if err != nil {
			return fmt.Errorf("lock %s: %w", f.Path, err)
		}
		defer unlock()
		entries, err := f.read()
		if err != nil {
			return err
		}
		if entries, err = change(entries); err != nil {
			return err
		}
		return f.write(entries)
	})
}

// lock locks a file, which it creates, until unlock is called.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockTime); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { file.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(err, file.Close())
		case time.Now().After(end):
			return nil, errors.Join(errLocked, file.Close())
		}
	}
}

// write replaces the file.
func (f File) write(entries []Entry) (err error) {
	text, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("write %s: %w", f.Path, elffile.ErrTooLarge)
	}
	temp, err := os.CreateTemp(filepath.Dir(f.Path), ".types-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(append(text, '\n'))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), f.Path)
}
