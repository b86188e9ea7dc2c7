package pin

import (
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	cilium "github.com/cilium/ebpf/pin"
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
		on, err := onBPFFS(root)
		if err == nil && !on {
			err = ErrNotBPFFS
		}
		if err != nil {
			yield(Entry{Path: root}, fmt.Errorf("walk %q: %w", root, err))
			return
		}
		walk(root, yield)
	}
}

// walk returns false when yield told it to stop.
func walk(dir string, yield func(Entry, error) bool) bool {
	entries, err := os.ReadDir(dir)
	if err != nil && !missing(err) && !yield(Entry{Path: dir}, fmt.Errorf("walk %q: %w", dir, reason(err))) {
		return false
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			// An error here comes up again when the directory is read.
			if on, err := onBPFFS(path); (on || err != nil) && !walk(path, yield) {
				return false
			}
		case e.Type().IsRegular():
			entry, err := look(path)
			if err != nil {
				if missing(err) {
					continue
				}
				err = fmt.Errorf("look at pin %q: %w", path, err)
			}
			if !yield(entry, err) {
				return false
			}
		}
	}
	return true
}

// look finds out what is pinned to path.
func look(path string) (Entry, error) {
	entry := Entry{Path: path}
	st, err := os.Lstat(path)
	if err != nil {
		return entry, reason(err)
	}
	entry.Mode = st.Mode().Perm()
	o, err := loadReadOnly(path)
	if err != nil {
		return entry, err
	}
	defer o.Close()
	entry.Kind = kindOf(o)
	m, ok := o.(*ebpf.Map)
	if !ok {
		return entry, nil
	}
	info, err := m.Info()
	if err != nil {
		return entry, reason(err)
	}
	entry.ID, _ = info.ID()
	entry.Type, entry.Name = info.Type, info.Name
	return entry, nil
}
