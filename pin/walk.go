package pin

import (
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	cilium "github.com/cilium/ebpf/pin"
	"golang.org/x/sys/unix"
)

// Kind is the kind of a pinned object.
type Kind string

// What can be pinned (enum bpf_type in kernel/bpf/inode.c).
const (
	KindMap     Kind = "map"
	KindProgram Kind = "program"
	KindLink    Kind = "link"
)

func kindOf(o cilium.Pinner) Kind {
	switch o.(type) {
	case *ebpf.Map:
		return KindMap
	case *ebpf.Program:
		return KindProgram
	default:
		return KindLink
	}
}

// Entry is one pin.
type Entry struct {
	Path string
	Kind Kind
	Mode fs.FileMode // permission bits

	// Of maps only.
	ID   ebpf.MapID
	Type ebpf.MapType
	Name string // at most 15 bytes, may be empty
}

// Walk yields the pins in root, a directory on a bpffs, and below it, in
// lexical order. Symbolic links are not followed, except for root itself, nor are
// mounts of other file systems.
//
// What cannot be read is yielded with its path and an error, and the walk goes
// on. What vanishes during the walk is left out. The objects are not held: by the
// time of use a path may lead to another one.
func Walk(root string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		fd, err := openRoot(root)
		if err != nil {
			yield(Entry{Path: root}, fmt.Errorf("walk %q: %w", root, err))
			return
		}
		defer unix.Close(fd)
		walk(fd, root, yield)
	}
}

// openRoot returns a handle of the root of a walk.
func openRoot(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	on, err := isBPFFS(fd)
	if err == nil && !on {
		err = ErrNotBPFFS
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// walk returns false when yield told it to stop. dir is a handle of the directory path.
func walk(dir int, path string, yield func(Entry, error) bool) bool {
	entries, err := readDir(dir, path)
	if err != nil && !missing(err) && !yield(Entry{Path: path}, fmt.Errorf("walk %q: %w", path, reason(err))) {
		return false
	}
	for _, e := range entries {
		path := filepath.Join(path, e.Name())
		fd, err := unix.Openat(dir, e.Name(), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if missing(err) {
			continue
		}
		if err != nil {
			if !yield(Entry{Path: path}, fmt.Errorf("look at pin %q: %w", path, reason(err))) {
				return false
			}
			continue
		}
		more := visit(fd, path, yield)
		unix.Close(fd)
		if !more {
			return false
		}
	}
	return true
}

// visit walks on if fd is the handle of a directory, and looks at it if it is that of a pin.
func visit(fd int, path string, yield func(Entry, error) bool) bool {
	entry := Entry{Path: path}
	st, err := stat(fd)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		on, err := isBPFFS(fd)
		return err == nil && !on || walk(fd, path, yield)
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG:
		return true
	case err == nil:
		entry.Mode = fs.FileMode(st.Mode).Perm()
		// ENOENT: the pin is gone, or it is one of the kernel's own (maps.debug, progs.debug).
		if err = entry.look(fd); missing(err) {
			return true
		}
	}
	if err != nil {
		err = fmt.Errorf("look at pin %q: %w", path, err)
	}
	return yield(entry, err)
}

// readDir returns the entries of the directory path, of which dir is a handle, in lexical order.
func readDir(dir int, path string) ([]fs.DirEntry, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// look fills in the object pinned at the file that fd is a handle of.
func (e *Entry) look(fd int) error {
	o, err := loadReadOnly(fd)
	if err != nil {
		return err
	}
	defer o.Close()
	e.Kind = kindOf(o)
	m, ok := o.(*ebpf.Map)
	if !ok {
		return nil
	}
	info, err := m.Info()
	if err != nil {
		return reason(err)
	}
	e.ID, _ = info.ID()
	e.Type, e.Name = info.Type, info.Name
	return nil
}
