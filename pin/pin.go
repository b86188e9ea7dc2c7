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

	"github.com/rbtool/rbtool/internal/bpffs"
)

// Options say how to pin an object. The zero value suits most uses.
type Options struct {
	// Mode is the pin's permission bits. [Open] needs read and write permission. Zero means the
	// kernel's default: 0600 less the umask (bpf_obj_do_pin in kernel/bpf/inode.c). If Mode is not
	// zero, the pin is created in a new directory next to path, of mode 0700 and named rbtool-
	// and random letters, and then moved to path. A process that is killed before the move leaves
	// the directory behind.
	Mode fs.FileMode
}

// Map pins m to path. It creates missing directories on the bpffs above path, with mode
// 0755 less the umask, and removes them again if pinning fails. The caller still owns m.
//
// Map refuses a path that exists with [fs.ErrExist], and a path that other users can change
// with [ErrUnsafe]. Other errors are [ErrNotBPFFS], [ErrName], and ENOTDIR if the path leads
// through a file.
func Map(m *ebpf.Map, path string, opts Options) error {
	c, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pin map to %q: %w", path, err)
	}
	defer c.Close()
	return pin("map", c, path, opts)
}

// Program pins p to path like [Map]. The caller still owns p.
func Program(p *ebpf.Program, path string, opts Options) error {
	c, err := p.Clone()
	if err != nil {
		return fmt.Errorf("pin program to %q: %w", path, err)
	}
	defer c.Close()
	return pin("program", c, path, opts)
}

// Link pins l to path like [Map]. While the pin exists, the program stays attached even after l
// is closed. The caller still owns l. A perf event without a BPF link (before Linux 5.15) is
// refused with [ebpf.ErrNotSupported].
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
		// l is a perf event, for which kernels before 5.15 have no BPF link.
		return nil, fmt.Errorf("%w: %T has no descriptor", ebpf.ErrNotSupported, l)
	}
	fd, err := unix.FcntlInt(uintptr(raw.FD()), unix.F_DUPFD_CLOEXEC, 0)
	runtime.KeepAlive(l)
	if err != nil {
		return nil, err
	}
	return link.NewFromFD(fd)
}

// Check returns the error with which [Map] would refuse path, without changing anything:
// [ErrNotBPFFS], [fs.ErrExist], [ErrName] or [ErrUnsafe]. Directories above path may be
// missing.
func Check(path string) error {
	p, err := bpffs.Resolve(path, false)
	if err == nil {
		defer p.Close()
		err = p.CheckFree()
	}
	if err != nil {
		return fmt.Errorf("pin to %q: %w", path, err)
	}
	return nil
}

// object is a map, program or link of cilium/ebpf. It is a clone of the caller's object, because Pin records the
// path in it.
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

// pinNew pins o to path and creates the directories above it, or does neither.
func pinNew(o object, path string, opts Options) (err error) {
	p, err := bpffs.Resolve(path, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.CheckFree(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.RemoveParents()
		}
	}()
	if err := p.MakeParents(); err != nil {
		return err
	}
	if opts.Mode != 0 {
		return move(p, o, opts, unix.RENAME_NOREPLACE)
	}
	if err := o.Pin(filepath.Join(bpffs.ByHandle(p.Dir), p.Names[0])); err != nil {
		return reason(err)
	}
	return nil
}

// move pins o in a directory that only the caller can enter, sets the pin's mode there, and moves it
// to p. flags are those of renameat2(2).
func move(p *bpffs.Path, o object, opts Options, flags uint) (err error) {
	name := "rbtool-" + rand.Text()
	if err := unix.Mkdirat(p.Dir, name, 0o700); err != nil {
		return bpffs.Reason(err)
	}
	defer unix.Unlinkat(p.Dir, name, unix.AT_REMOVEDIR)
	own, err := unix.Openat(p.Dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return bpffs.Reason(err)
	}
	defer unix.Close(own)
	// If the root of the bpffs is world-writable and not sticky, another user can have replaced the directory.
	st, err := bpffs.Stat(own)
	if err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%w: directory %s was replaced", ErrUnsafe, filepath.Join(p.At, name))
	}
	const pinned = "pin"
	if err := o.Pin(filepath.Join(bpffs.ByHandle(own), pinned)); err != nil {
		return reason(err)
	}
	defer func() {
		if err != nil {
			unix.Unlinkat(own, pinned, 0)
		}
	}()
	if opts.Mode != 0 {
		if err := unix.Fchmodat(own, pinned, uint32(opts.Mode.Perm()), 0); err != nil {
			return bpffs.Reason(err)
		}
	}
	if err := unix.Renameat2(own, pinned, p.Dir, p.Names[0], flags); err != nil {
		return bpffs.Reason(err)
	}
	return nil
}

// Replace pins m to path like [Map], and atomically replaces a map that is pinned there: a
// concurrent [Open] gets the old or the new map. The new pin does not inherit the mode of the
// old pin.
//
// To replace a map, it pins m in a new directory next to path and then moves the pin, as described
// at Options.Mode. It opens the old pin to check that it holds a map, which needs read and write
// permission. If something else is at path, Replace leaves it alone and returns [ErrNotPin] or
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
	p, err := bpffs.Resolve(path, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := checkMap(p); err != nil && !isMissing(err) {
		return err
	}
	if p.Unsafe != nil {
		return p.Unsafe
	}
	return move(p, c, opts, 0)
}

// checkMap returns an error unless p is the pin of a map.
func checkMap(p *bpffs.Path) error {
	if err := p.CheckPin(); err != nil {
		return err
	}
	o, err := load(p.File)
	if err != nil {
		return err
	}
	defer o.Close()
	if kind := kindOf(o); kind != KindMap {
		return fmt.Errorf("%w: a %s is pinned there, wanted a map", ErrWrongType, kind)
	}
	return nil
}
