package pin

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	cilium "github.com/cilium/ebpf/pin"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/maptype"
)

// Open opens the map pinned at path for reading and writing. The caller closes the map. Open
// follows symbolic links.
//
// If types are given, Open refuses a map of any other type with [ErrWrongType].
// Other errors are [ErrNotBPFFS], [fs.ErrNotExist], [ErrNotPin] for a directory,
// [ErrWrongType] for a program or link, [fs.ErrPermission], and [ErrUnsafe] for another
// user's symbolic link.
func Open(path string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return openWith(load, path, types)
}

// OpenReadOnly is like [Open], but opens the map only for reading, which needs only read
// permission on the pin. The kernel refuses mmap(2) of such a map.
func OpenReadOnly(path string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return openWith(loadReadOnly, path, types)
}

// loader opens the object pinned at the file of handle fd.
type loader func(fd int) (cilium.Pinner, error)

func openWith(load loader, path string, types []ebpf.MapType) (*ebpf.Map, error) {
	m, err := open(load, path, types)
	if err != nil {
		return nil, fmt.Errorf("open map %q: %w", path, err)
	}
	return m, nil
}

func open(load loader, path string, types []ebpf.MapType) (*ebpf.Map, error) {
	p, err := bpffs.Resolve(path, true)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := p.CheckPin(); err != nil {
		return nil, err
	}
	o, err := load(p.File)
	if err != nil {
		return nil, err
	}
	m, ok := o.(*ebpf.Map)
	if !ok {
		o.Close()
		return nil, fmt.Errorf("%w: it is a %s, wanted %s", ErrWrongType, kindOf(o), maptype.List(types))
	}
	if err := maptype.Check(m.Type(), types); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Remove removes the pin at path. The object stays as long as something else
// holds it: a descriptor, another pin, or a program that uses it.
//
// Errors are [fs.ErrNotExist], [ErrNotBPFFS], [ErrNotPin] for a directory or symbolic link,
// which Remove does not remove, and [ErrUnsafe] for another user's symbolic link in the path
// to the pin.
func Remove(path string) error {
	if err := remove(path); err != nil {
		return fmt.Errorf("unpin %q: %w", path, err)
	}
	return nil
}

func remove(path string) error {
	p, err := bpffs.Resolve(path, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.CheckPin(); err != nil {
		return err
	}
	// Unlike os.Remove, unlinkat without AT_REMOVEDIR cannot remove a directory that has replaced the pin.
	if err := unix.Unlinkat(p.Dir, p.Names[0], 0); err != nil {
		return bpffs.Reason(err)
	}
	return nil
}

// load opens the object pinned at the file of handle fd, for reading and writing.
func load(fd int) (cilium.Pinner, error) { return loadAs(fd, nil) }

// loadReadOnly is load for reading only. The kernel refuses this for links with EINVAL
// (bpf_obj_get_user in kernel/bpf/inode.c), so loadReadOnly opens links for reading and writing.
func loadReadOnly(fd int) (cilium.Pinner, error) {
	o, err := loadAs(fd, &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, unix.EINVAL) {
		return load(fd)
	}
	return o, err
}

func loadAs(fd int, opts *ebpf.LoadPinOptions) (cilium.Pinner, error) {
	path := bpffs.ByHandle(fd)
	o, err := cilium.Load(path, opts)
	if isMissing(err) {
		// Stat fails only if /proc is not mounted, since the handle is open.
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, reason(err)
	}
	return o, nil
}
