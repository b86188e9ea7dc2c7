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

	"github.com/rbtool/rbtool/internal/bpffs"
)

// Kind is the kind of a pinned object.
type Kind string

// The kinds of objects that bpffs holds (enum bpf_type in kernel/bpf/inode.c).
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
	Path string // the root of the walk, joined with the path below it
	Kind Kind
	Mode fs.FileMode // permission bits

	// Zero unless Kind is KindMap.
	ID   ebpf.MapID
	Type ebpf.MapType
	Name string // at most 15 bytes, may be empty
}

// Walk yields the pins in and below root, a directory on a bpffs, in lexical order. It follows
// no symbolic links, except for root itself, and enters no other file systems.
//
// For an entry that it cannot read, it yields the path and an error, and goes on. To read a pin
// needs read permission, that of a link write permission too. If it cannot open root, or root is
// not on a bpffs ([ErrNotBPFFS]), it yields only that error. Walk omits entries that vanish during
// the walk. It keeps no object open: when the caller uses a path, another object can be pinned
// there.
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

// openRoot returns a handle (O_PATH) of path, which must be on a bpffs.
func openRoot(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	on, err := bpffs.Contains(fd)
	if err == nil && !on {
		err = ErrNotBPFFS
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// walk visits the entries of the directory path, whose handle is dir. It returns false if yield returned false.
func walk(dir int, path string, yield func(Entry, error) bool) bool {
	entries, err := readDir(dir, path)
	if err != nil && !isMissing(err) && !yield(Entry{Path: path}, fmt.Errorf("walk %q: %w", path, bpffs.Reason(err))) {
		return false
	}
	for _, e := range entries {
		path := filepath.Join(path, e.Name())
		fd, err := unix.Openat(dir, e.Name(), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if isMissing(err) {
			continue
		}
		if err != nil {
			if !yield(Entry{Path: path}, fmt.Errorf("read pin %q: %w", path, bpffs.Reason(err))) {
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

// visit walks the directory fd, or yields the pin fd, whose path is path. It returns false if yield returned
// false.
func visit(fd int, path string, yield func(Entry, error) bool) bool {
	entry := Entry{Path: path}
	st, err := bpffs.Stat(fd)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		on, err := bpffs.Contains(fd)
		return err == nil && !on || walk(fd, path, yield)
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG:
		return true
	case err == nil:
		entry.Mode = fs.FileMode(st.Mode).Perm()
		// ENOENT: the pin is gone, or the kernel itself created it (maps.debug, progs.debug).
		if err = entry.read(fd); isMissing(err) {
			return true
		}
	}
	if err != nil {
		err = fmt.Errorf("read pin %q: %w", path, err)
	}
	return yield(entry, err)
}

// readDir returns the entries of the directory path, whose handle is dir, in lexical order.
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

// read sets the fields that describe the object pinned at the file of handle fd.
func (e *Entry) read(fd int) error {
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
		return bpffs.Reason(err)
	}
	e.ID, _ = info.ID()
	e.Type, e.Name = info.Type, info.Name
	return nil
}
