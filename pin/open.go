package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	cilium "github.com/cilium/ebpf/pin"
	"golang.org/x/sys/unix"
)

// Open opens the map pinned to path for reading and writing: the kernel maps
// no memory of a map that was opened read-only. The caller closes it.
//
// Where types are given, a map of any other is refused with [ErrWrongType]
// before anything is done with it. Other errors: [ErrNotBPFFS],
// [fs.ErrNotExist], [ErrNotPin] for a directory, [ErrWrongType] for a program or
// link, [fs.ErrPermission].
func Open(path string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return openWith(load, path, types)
}

// OpenReadOnly is [Open] for a map that is only asked about: it takes the permission to read
// the pin, and none of the map's memory can be mapped.
func OpenReadOnly(path string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return openWith(loadReadOnly, path, types)
}

// loader opens whatever is pinned to path.
type loader func(path string) (cilium.Pinner, error)

func openWith(load loader, path string, types []ebpf.MapType) (*ebpf.Map, error) {
	m, err := open(load, path, types)
	if err != nil {
		return nil, fmt.Errorf("open map %q: %w", path, err)
	}
	return m, nil
}

func open(load loader, path string, types []ebpf.MapType) (*ebpf.Map, error) {
	// A symbolic link to a pin will do, so it is the target that is looked at.
	st, err := os.Stat(path)
	if err != nil {
		return nil, lookupReason(path, err)
	}
	if err := checkOn(path, st); err != nil {
		return nil, err
	}
	if err := regular(st); err != nil {
		return nil, err
	}
	o, err := load(path)
	if err != nil {
		return nil, err
	}
	m, ok := o.(*ebpf.Map)
	if !ok {
		o.Close()
		return nil, fmt.Errorf("%w: it is a %s, wanted %s", ErrWrongType, kindOf(o), wanted(types))
	}
	if len(types) > 0 && !slices.Contains(types, m.Type()) {
		m.Close()
		return nil, fmt.Errorf("%w: it is a map of type %s, wanted %s", ErrWrongType, TypeName(m.Type()), wanted(types))
	}
	return m, nil
}

func wanted(types []ebpf.MapType) string {
	if len(types) == 0 {
		return "a map"
	}
	var names []string
	for _, t := range types {
		names = append(names, TypeName(t))
	}
	return strings.Join(names, " or ")
}

// TypeName is the name of a map type for people and scripts: "ringbuf",
// "user_ringbuf" and "arena", as bpftool prints them; for the others cilium/ebpf's in
// lower case.
func TypeName(t ebpf.MapType) string {
	if t == ebpf.UserRingbuf {
		return "user_ringbuf"
	}
	return strings.ToLower(t.String())
}

// lookupReason says why path could not be looked at. Where it leads nowhere,
// it matters whether that is on a bpffs.
func lookupReason(path string, err error) error {
	if !nowhere(err) {
		return reason(err)
	}
	dir, names, err := deepest(path)
	if err != nil {
		return err
	}
	if err := checkDir(dir); err != nil {
		return err
	}
	if err := checkName(names[0]); err != nil {
		return explained{fs.ErrNotExist, fmt.Sprintf("no such pin (%s)", err)}
	}
	return fs.ErrNotExist
}

// Remove takes the pin at path away. The object lives on while something else
// holds it: a descriptor, another pin, a program that uses it.
//
// Errors: [fs.ErrNotExist]; [ErrNotBPFFS]; [ErrNotPin] for what is not a pin, which
// is left alone.
func Remove(path string) error {
	err := checkPin(path)
	if err == nil {
		// Unlike os.Remove this never removes a directory that took the
		// pin's place meanwhile.
		if err = unix.Unlink(path); err != nil {
			err = reason(err)
		}
	}
	if err != nil {
		return fmt.Errorf("unpin %q: %w", path, err)
	}
	return nil
}

// checkPin says whether path itself, not what a symbolic link there leads to,
// is a pin.
func checkPin(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return lookupReason(path, err)
	}
	if err := checkOn(path, st); err != nil {
		return err
	}
	return regular(st)
}

// regular says whether an entry of a bpffs is a pin. It has no other regular
// files: bpf_dir_iops in kernel/bpf/inode.c has no create.
func regular(st fs.FileInfo) error {
	switch {
	case st.IsDir():
		return fmt.Errorf("%w: it is a directory", ErrNotPin)
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: it is a symbolic link", ErrNotPin)
	}
	return nil
}

// load opens whatever is pinned to path for reading and writing.
func load(path string) (cilium.Pinner, error) {
	o, err := cilium.Load(path, nil)
	if err != nil {
		return nil, bpfReason(err)
	}
	return o, nil
}

// loadReadOnly opens whatever is pinned to path, asking for no more permission
// than it takes to look at it. Links cannot be opened read-only: the kernel
// answers EINVAL (bpf_obj_get_user in kernel/bpf/inode.c).
func loadReadOnly(path string) (cilium.Pinner, error) {
	o, err := cilium.Load(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, unix.EINVAL) {
		return load(path)
	}
	if err != nil {
		return nil, bpfReason(err)
	}
	return o, nil
}
