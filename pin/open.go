package pin

import (
	"errors"
	"fmt"
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
// link, [fs.ErrPermission], [ErrUnsafe] for another user's symbolic link.
func Open(path string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return openWith(load, path, types)
}

// OpenReadOnly is [Open] for a map that is only inspected: it needs only read permission on the
// pin, and the map's memory cannot be mapped.
func OpenReadOnly(path string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return openWith(loadReadOnly, path, types)
}

// loader opens the object pinned at the file that fd is a handle of.
type loader func(fd int) (cilium.Pinner, error)

func openWith(load loader, path string, types []ebpf.MapType) (*ebpf.Map, error) {
	m, err := open(load, path, types)
	if err != nil {
		return nil, fmt.Errorf("open map %q: %w", path, err)
	}
	return m, nil
}

func open(load loader, path string, types []ebpf.MapType) (*ebpf.Map, error) {
	// A symbolic link to a pin will do, so it is the target that is looked at.
	p, err := find(path, true)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.checkPin(); err != nil {
		return nil, err
	}
	o, err := load(p.file)
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

// Remove takes the pin at path away. The object lives on while something else
// holds it: a descriptor, another pin, a program that uses it.
//
// Errors: [fs.ErrNotExist]; [ErrNotBPFFS]; [ErrNotPin] for what is not a pin, which
// is left alone.
func Remove(path string) error {
	if err := remove(path); err != nil {
		return fmt.Errorf("unpin %q: %w", path, err)
	}
	return nil
}

func remove(path string) error {
	p, err := find(path, false)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.checkPin(); err != nil {
		return err
	}
	// Unlike os.Remove this never removes a directory that took the pin's place meanwhile.
	if err := unix.Unlinkat(p.dir, p.names[0], 0); err != nil {
		return reason(err)
	}
	return nil
}

// load opens the object pinned at the file that fd is a handle of, for reading and writing.
func load(fd int) (cilium.Pinner, error) { return loadAs(fd, nil) }

// loadReadOnly is load with read permission alone. Links cannot be opened read-only: the kernel
// answers EINVAL (bpf_obj_get_user in kernel/bpf/inode.c).
func loadReadOnly(fd int) (cilium.Pinner, error) {
	o, err := loadAs(fd, &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, unix.EINVAL) {
		return load(fd)
	}
	return o, err
}

func loadAs(fd int, opts *ebpf.LoadPinOptions) (cilium.Pinner, error) {
	path := byHandle(fd)
	o, err := cilium.Load(path, opts)
	if missing(err) {
		// The handle is open, so this fails only without /proc.
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, bpfReason(err)
	}
	return o, nil
}
