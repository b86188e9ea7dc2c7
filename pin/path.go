package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Check finds out, without changing anything, whether path can be pinned to:
// it lies on a bpffs, does not exist yet, and what is missing of it has names
// that bpffs takes. Directories above it may be missing; [Map] makes them.
func Check(path string) error {
	if _, err := missingDirs(path); err != nil {
		return fmt.Errorf("pin to %q: %w", path, err)
	}
	return nil
}

// Missing returns the directories above path that do not exist, the deepest first:
// those that [Map] would make. With it a caller can undo a pin whole.
func Missing(path string) []string {
	var dirs []string
	for dir := filepath.Dir(filepath.Clean(path)); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return dirs // "/" and "." exist
		}
		dirs = append(dirs, dir)
	}
}

// missingDirs checks path as Check does and returns the directories to make, top
// down.
func missingDirs(path string) ([]string, error) {
	switch st, err := os.Lstat(path); {
	case err == nil:
		if err := checkOn(path, st); err != nil {
			return nil, err
		}
		return nil, fs.ErrExist
	case !nowhere(err):
		return nil, reason(err)
	}
	dir, names, err := deepest(path)
	if err != nil {
		return nil, err
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	var dirs []string
	for _, name := range names {
		if err := checkName(name); err != nil {
			return nil, err
		}
		dir = filepath.Join(dir, name)
		dirs = append(dirs, dir)
	}
	return dirs[:len(dirs)-1], nil // the last is path itself
}

// deepest splits path into the longest part that exists and the names that do
// not, of which there is at least one.
func deepest(path string) (dir string, names []string, err error) {
	dir = filepath.Clean(path)
	for {
		names = append(names, filepath.Base(dir))
		up := filepath.Dir(dir)
		if up == dir { // "/" and "." exist
			return "", nil, fmt.Errorf("%w: it is empty", ErrName)
		}
		dir = up
		_, err := os.Stat(dir)
		if err == nil {
			slices.Reverse(names)
			return dir, names, nil
		}
		if !nowhere(err) {
			return "", nil, reason(err)
		}
	}
}

// nowhere reports whether err, from a lookup, leaves open that a part of the
// path exists. The kernel answers EPERM for a name with a dot (bpf_lookup in
// kernel/bpf/inode.c), and never else for a lookup on bpffs.
func nowhere(err error) bool {
	return missing(err) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EPERM)
}

// checkOn says whether path, whose Lstat is st, lies on a bpffs.
func checkOn(path string, st fs.FileInfo) error {
	if st.Mode()&fs.ModeSymlink != 0 {
		path = filepath.Dir(path) // statfs(2) would follow the link
	}
	on, err := onBPFFS(path)
	if err != nil {
		return reason(err)
	}
	if !on {
		return ErrNotBPFFS
	}
	return nil
}

// checkDir says whether dir, which exists, is a directory on a bpffs, or a
// symbolic link to one.
func checkDir(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return reason(err)
	}
	if err := checkOn(dir, st); err != nil {
		return err
	}
	if !st.IsDir() {
		return explained{unix.ENOTDIR, fmt.Sprintf("%s is not a directory", dir)}
	}
	return nil
}

// checkName says whether bpffs takes an entry of this name: bpf_lookup in
// kernel/bpf/inode.c keeps names with a dot for the kernel.
func checkName(name string) error {
	switch {
	case strings.Contains(name, "."):
		return fmt.Errorf("%w: %q has a dot, which bpffs keeps for the kernel's own names", ErrName, name)
	case len(name) > unix.NAME_MAX:
		return fmt.Errorf("%w: %d bytes are more than %d (%w)", ErrName, len(name), unix.NAME_MAX, unix.ENAMETOOLONG)
	}
	return nil
}
