package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runDir is the directory for the files of one run, below the cache directory. The process holds a
// lock on it, which ends with the process.
type runDir struct{ dir *os.File }

// newRunDir creates the directory of this run, and removes those of runs that were killed.
func newRunDir(cache string) (runDir, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return runDir{}, err
	}
	// The lock on the cache lets one process at a time do this: a directory that has been created
	// but not yet locked looks like that of a killed run.
	all, err := os.Open(cache)
	if err != nil {
		return runDir{}, err
	}
	defer all.Close()
	if err := unix.Flock(int(all.Fd()), unix.LOCK_EX); err != nil {
		return runDir{}, fmt.Errorf("lock %s: %w", cache, err)
	}
	old, err := filepath.Glob(filepath.Join(cache, "run-*"))
	if err != nil {
		return runDir{}, err
	}
	for _, path := range old {
		if err := sweep(path); err != nil {
			return runDir{}, err
		}
	}
	path, err := os.MkdirTemp(cache, "run-")
	if err != nil {
		return runDir{}, err
	}
	d, err := os.Open(path)
	if err != nil {
		return runDir{}, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return runDir{}, errors.Join(fmt.Errorf("lock %s: %w", path, err), d.Close())
	}
	return runDir{d}, nil
}

// sweep removes the run directory at path unless its run still holds the lock.
func sweep(path string) error {
	d, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // its run has just ended
	}
	if err != nil {
		return err
	}
	defer d.Close()
	switch err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return os.RemoveAll(path)
	case unix.EWOULDBLOCK:
		return nil
	default:
		return fmt.Errorf("lock %s: %w", path, err)
	}
}

func (r runDir) path() string { return r.dir.Name() }

func (r runDir) remove() {
	os.RemoveAll(r.path())
	r.dir.Close()
}
