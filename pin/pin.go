package pin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Options are how to pin. The zero value is right for most.
type Options struct {
	// Mode is who may open the pin: permission bits. Opening a map to use it
	// takes read and write permission. Zero leaves what the kernel gives: 0600
	// without the bits of the umask (bpf_obj_do_pin in kernel/bpf/inode.c). With another
	// mode the pin is made in a directory of mode 0700 beside path, named rbtool- and random
	// letters, and moved. A process that is killed before the move leaves that directory behind.
	Mode fs.FileMode
}

// Map pins m to path. Missing directories on the bpffs above path are made,
// with mode 0755 without the bits of the umask; should the pin fail they are
// removed again.
//
// An existing path is refused with [fs.ErrExist], one that other users can change with
// [ErrUnsafe]. Other errors: [ErrNotBPFFS], [ErrName], an ENOTDIR where a file stands in the
// path's way.
func Map(m *ebpf.Map, path string, opts Options) error {
	c, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pin map to %q: %w", path, err)
	}
	defer c.Close()
	return pin("map", c, path, opts)
}

// Program pins p to path as [Map] does.
func Program(p *ebpf.Program, path string, opts Options) error {
	c, err := p.Clone()
	if err != nil {
		return fmt.Errorf("pin program to %q: %w", path, err)
	}
	defer c.Close()
	return pin("program", c, path, opts)
}

// Link pins l to path as [Map] does. What l links stays linked after l was
// closed, for as long as the pin exists.
func Link(l link.Link, path string, opts Options) error {
	c, err := cloneLink(l)
	if err != nil {
		return fmt.Errorf("pin link to %q: %w", path, err)
	}
	defer c.Close()
	return pin("link", c, path, opts)
}

func cloneLink(l link.Link) (link.Link, error) {
	raw, ok := l.(interface{ FD() int })
	if !ok {
		// A perf event: kernels before 5.15 have no link for it.
		return nil, fmt.Errorf("%w: %T has no descriptor", ebpf.ErrNotSupported, l)
	}
	fd, err := unix.FcntlInt(uintptr(raw.FD()), unix.F_DUPFD_CLOEXEC, 0)
	runtime.KeepAlive(l)
	if err != nil {
		return nil, err
	}
	return link.NewFromFD(fd)
}

// object is a clone, so that the path it keeps after Pin does not matter.
type object interface {
	io.Closer
	Pin(path string) error
}

func pin(what string, o object, path string, opts Options) error {
	if err := pinNew(o, filepath.Clean(path), opts); err != nil {
		return fmt.Errorf("pin %s to %q: %w", what, path, err)
	}
	return nil
}

// pinNew pins o to path and makes the directories above it, or does neither.
func pinNew(o object, path string, opts Options) (err error) {
	p, err := find(path, false)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.checkFree(); err != nil {
		return err
	}
	var made []entry
	defer func() {
		// Bottom up. A directory with another process's entry stays.
		for _, e := range slices.Backward(made) {
			if err != nil {
				unix.Unlinkat(e.dir, e.name, unix.AT_REMOVEDIR)
			}
			unix.Close(e.dir)
		}
	}()
	for len(p.names) > 1 {
		e, err := p.mkdir()
		if e.dir >= 0 {
			made = append(made, e)
		}
		if err != nil {
			return err
		}
	}
	if opts.Mode != 0 {
		return p.move(o, opts, unix.RENAME_NOREPLACE)
	}
	if err := o.Pin(filepath.Join(byHandle(p.dir), p.names[0])); err != nil {
		return bpfReason(err)
	}
	return nil
}

// entry is a directory that was made: a handle of its parent, and its name.
type entry struct {
	dir  int
	name string
}

// mkdir makes the first missing directory, unless another process just has, and enters it. The
// entry's dir is -1 if it was not made; the caller closes it.
func (p *place) mkdir() (e entry, err error) {
	e = entry{-1, p.names[0]}
	err = unix.Mkdirat(p.dir, e.name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return e, reason(err)
	}
	if err == nil {
		if e.dir, err = unix.FcntlInt(uintptr(p.dir), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return e, errors.Join(reason(err), unix.Unlinkat(p.dir, e.name, unix.AT_REMOVEDIR))
		}
	}
	fd, err := unix.Openat(p.dir, e.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return e, reason(err)
	}
	if err := p.enter(fd, e.name); err != nil {
		return e, err
	}
	p.names = p.names[1:]
	return e, p.unsafe
}

// move pins o in a directory that only the caller can enter, sets the pin's mode there, and moves it
// to its path. flags are those of renameat2(2).
func (p *place) move(o object, opts Options, flags uint) (err error) {
	name := "rbtool-" + rand.Text()
	if err := unix.Mkdirat(p.dir, name, 0o700); err != nil {
		return reason(err)
	}
	defer unix.Unlinkat(p.dir, name, unix.AT_REMOVEDIR)
	own, err := unix.Openat(p.dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return reason(err)
	}
	defer unix.Close(own)
	// If the root of the bpffs is world-writable and not sticky, another user may have replaced it.
	st, err := stat(own)
	if err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%w: directory %s was replaced", ErrUnsafe, filepath.Join(p.at, name))
	}
	const pinned = "pin"
	if err := o.Pin(filepath.Join(byHandle(own), pinned)); err != nil {
		return bpfReason(err)
	}
	defer func() {
		if err != nil {
			unix.Unlinkat(own, pinned, 0)
		}
	}()
	if opts.Mode != 0 {
		if err := unix.Fchmodat(own, pinned, uint32(opts.Mode.Perm()), 0); err != nil {
			return reason(err)
		}
	}
	if err := unix.Renameat2(own, pinned, p.dir, p.names[0], flags); err != nil {
		return reason(err)
	}
	return nil
}

// Replace makes path a pin of m, whether or not a map is pinned there already.
// It is atomic: whoever opens path meanwhile gets the old map or the new one. The
// mode of an old pin is not taken over.
//
// It pins in a directory beside path and moves the pin, as Options.Mode says.
// It refuses to replace anything but the pin of a map: [ErrNotPin],
// [ErrWrongType].
func Replace(m *ebpf.Map, path string, opts Options) error {
	if err := replace(m, filepath.Clean(path), opts); err != nil {
		return fmt.Errorf("replace map at %q: %w", path, err)
	}
	return nil
}

func replace(m *ebpf.Map, path string, opts Options) error {
	c, err := m.Clone()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := pinNew(c, path, opts); !errors.Is(err, fs.ErrExist) {
		return err
	}
	p, err := find(path, false)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.checkMap(); err != nil && !missing(err) {
		return err
	}
	if p.unsafe != nil {
		return p.unsafe
	}
	return p.move(c, opts, 0)
}

// checkMap says whether the path is that of the pin of a map.
func (p *place) checkMap() error {
	if err := p.checkPin(); err != nil {
		return err
	}
	o, err := load(p.file)
	if err != nil {
		return err
	}
	defer o.Close()
	if kind := kindOf(o); kind != KindMap {
		return fmt.Errorf("%w: a %s is pinned there, wanted a map", ErrWrongType, kind)
	}
	return nil
}
