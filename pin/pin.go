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

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Options are how to pin. The zero value is right for most.
type Options struct {
	// Mode is who may open the pin: permission bits. Opening a map to use it
	// takes read and write permission. Zero leaves what the kernel gives: 0600
	// without the bits of the umask (bpf_obj_do_pin in kernel/bpf/inode.c).
	Mode fs.FileMode
}

// Map pins m to path. Missing directories on the bpffs above path are made,
// with mode 0755 without the bits of the umask; should the pin fail they are
// removed again.
//
// An existing path is refused with [fs.ErrExist]. Other errors: [ErrNotBPFFS],
// [ErrName], an ENOTDIR where a file stands in the path's way.
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

func pinNew(o object, path string, opts Options) error {
	dirs, err := missingDirs(path)
	if err != nil {
		return err
	}
	return pinBelow(o, path, dirs, opts)
}

// pinBelow makes dirs and pins o to path, or does neither.
func pinBelow(o object, path string, dirs []string, opts Options) (err error) {
	var made []string
	defer func() {
		if err != nil {
			// Bottom up. One in which somebody else made an entry stays.
			for i := len(made); i > 0; i-- {
				os.Remove(made[i-1])
			}
		}
	}()
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err == nil {
			made = append(made, dir)
		} else if !errors.Is(err, fs.ErrExist) {
			return reason(err)
		}
	}
	if err := o.Pin(path); err != nil {
		return bpfReason(err)
	}
	if opts.Mode != 0 {
		if err := os.Chmod(path, opts.Mode.Perm()); err != nil {
			unix.Unlink(path)
			return reason(err)
		}
	}
	return nil
}

// Replace makes path a pin of m, whether or not a map is pinned there already.
// It is atomic: whoever opens path meanwhile gets the old map or the new one. The
// mode of an old pin is not taken over.
//
// It pins under a name of its own beside path, rbtool- and random letters, and
// renames; a process killed between the two leaves that name behind.
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
	if err := replaceable(path); err != nil && !missing(err) {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), "rbtool-"+rand.Text())
	if err := pinBelow(c, temporary, nil, opts); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		unix.Unlink(temporary)
		return reason(err)
	}
	return nil
}

func replaceable(path string) error {
	if err := checkPin(path); err != nil {
		return err
	}
	o, err := load(path)
	if err != nil {
		return err
	}
	defer o.Close()
	if kind := kindOf(o); kind != KindMap {
		return fmt.Errorf("%w: a %s is pinned there, wanted a map", ErrWrongType, kind)
	}
	return nil
}
