package bpffs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
)

// Path is a resolved path: a handle of the deepest existing directory on the path, and the names below that
// directory. Operations on the handles do not resolve the path again.
type Path struct {
	Dir    int      // handle (O_PATH) of the deepest existing directory
	At     string   // path of Dir
	Names  []string // components of the path below Dir; only the first can exist
	File   int      // handle of Names[0] in Dir; -1 if it does not exist, or if the path is Dir itself
	Unsafe error    // [ErrUnsafe] if other users can change the entries of Dir or of a directory above it

	bpffs bool // Dir is on a bpffs
	mode  uint32
	made  []entry // directories that MakeParents created
}

// maxLinks bounds the symbolic links in a path, like MAXSYMLINKS in the kernel (include/linux/namei.h).
const maxLinks = 40

// Resolve resolves path, of which any part may be missing. If follow is set, it also follows a symbolic link in
// the last component. The caller closes the result.
//
// Any user can create symbolic links on a bpffs, so Resolve refuses links there that belong to users other than
// the caller and root, with [ErrUnsafe].
func Resolve(path string, follow bool) (_ *Path, err error) {
	if path == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrName)
	}
	path = filepath.Clean(path)
	if len(path) >= unix.PathMax {
		return nil, Reason(unix.ENAMETOOLONG)
	}
	p := &Path{Dir: -1, File: -1}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := p.begin(filepath.IsAbs(path)); err != nil {
		return nil, err
	}
	parts := split(path)
	for links := 0; len(parts) > 0; {
		fd, err := unix.Openat(p.Dir, parts[0], unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if nowhere(err) {
			p.Names = parts
			return p, nil
		}
		if err != nil {
			return nil, Reason(err)
		}
		target, err := p.step(fd, parts, follow)
		if err != nil {
			return nil, err
		}
		if p.File >= 0 {
			return p, nil
		}
		parts = parts[1:]
		if target == "" {
			continue
		}
		if links++; links > maxLinks {
			return nil, Reason(unix.ELOOP)
		}
		if filepath.IsAbs(target) {
			if err := p.begin(true); err != nil {
				return nil, err
			}
		}
		parts = append(split(target), parts...)
	}
	return p, nil
}

// split returns the components of a path.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}

// begin makes the root directory or the working directory the Dir of p.
func (p *Path) begin(root bool) error {
	at := "."
	if root {
		at = "/"
	}
	fd, err := unix.Open(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Reason(err)
	}
	p.At, p.bpffs = "", false
	return p.enter(fd, at)
}

// step processes fd, the handle of parts[0]: a symbolic link to follow, whose target it returns; the last
// component, which becomes p.File; or a directory, which becomes p.Dir.
func (p *Path) step(fd int, parts []string, follow bool) (target string, err error) {
	st, err := Stat(fd)
	if err != nil {
		unix.Close(fd)
		return "", err
	}
	last := len(parts) == 1
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK && (follow || !last):
		defer unix.Close(fd)
		return p.readLink(fd, parts[0], st.Uid)
	case last:
		p.File, p.mode, p.Names = fd, st.Mode, parts
		return "", nil
	case kind != unix.S_IFDIR:
		unix.Close(fd)
		if !p.bpffs {
			return "", ErrNotBPFFS
		}
		return "", explain.Error(unix.ENOTDIR, "%s is not a directory", filepath.Join(p.At, parts[0]))
	}
	return "", p.enter(fd, parts[0])
}

func (p *Path) readLink(fd int, name string, owner uint32) (target string, err error) {
	if p.bpffs && !isTrusted(owner) {
		return "", fmt.Errorf("%w: %s is a symbolic link of user %d", ErrUnsafe, filepath.Join(p.At, name), owner)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", Reason(err)
	}
	return string(buf[:n]), nil
}

// enter makes fd, the handle of Dir's subdirectory name, the new Dir.
func (p *Path) enter(fd int, name string) error {
	if p.Dir >= 0 {
		unix.Close(p.Dir)
	}
	p.Dir = fd
	p.At = filepath.Join(p.At, name)
	above := p.bpffs
	var err error
	if p.bpffs, err = Contains(fd); err != nil {
		return Reason(err)
	}
	if !p.bpffs || !above || p.Unsafe != nil {
		return nil // the root of a bpffs needs no check, see checkOwner
	}
	st, err := Stat(fd)
	if err != nil {
		return err
	}
	p.Unsafe = checkOwner(p.At, st)
	return nil
}

// checkOwner returns [ErrUnsafe] for a directory in which another user can replace the caller's
// entries. The root of a bpffs needs no check: it belongs to the user who mounted it, and it is
// sticky whatever mode= the mount has (bpf_fill_super in kernel/bpf/inode.c).
func checkOwner(dir string, st unix.Stat_t) error {
	if !isTrusted(st.Uid) {
		return fmt.Errorf("%w: directory %s belongs to user %d", ErrUnsafe, dir, st.Uid)
	}
	if st.Mode&unix.S_ISVTX != 0 {
		return nil // only the owners of an entry and of the directory can rename or remove it
	}
	byGroup := st.Mode&unix.S_IWGRP != 0 && st.Gid != 0 && int(st.Gid) != os.Getegid()
	if byGroup || st.Mode&unix.S_IWOTH != 0 {
		return fmt.Errorf("%w: directory %s can be written to by others (mode %04o)", ErrUnsafe, dir, st.Mode&0o7777)
	}
	return nil
}

// isTrusted reports whether a user is the caller or root.
func isTrusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// Stat is fstat(2).
func Stat(fd int) (st unix.Stat_t, err error) {
	if err := unix.Fstat(fd, &st); err != nil {
		return st, Reason(err)
	}
	return st, nil
}

// Close closes the handles.
func (p *Path) Close() {
	for _, fd := range []int{p.Dir, p.File} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, e := range p.made {
		unix.Close(e.dir)
	}
}

// exists reports whether the whole path exists.
func (p *Path) exists() bool { return p.File >= 0 || len(p.Names) == 0 }

// handle returns the handle of what the path names. The whole path must exist.
func (p *Path) handle() int {
	if p.File >= 0 {
		return p.File
	}
	return p.Dir
}

// checkBPFFS returns [ErrNotBPFFS] unless the path, or its deepest existing directory, is on a bpffs.
func (p *Path) checkBPFFS() error {
	on := p.bpffs
	if p.exists() {
		var err error
		if on, err = Contains(p.handle()); err != nil {
			return Reason(err)
		}
	}
	if !on {
		return ErrNotBPFFS
	}
	return nil
}

// CheckPin returns an error unless the path is a pin: [ErrNotBPFFS], [fs.ErrNotExist] or [ErrNotPin].
func (p *Path) CheckPin() error {
	if err := p.checkBPFFS(); err != nil {
		return err
	}
	if !p.exists() {
		if err := checkName(p.Names[0]); err != nil {
			return explain.Error(fs.ErrNotExist, "no such pin (%s)", err)
		}
		return fs.ErrNotExist
	}
	return regular(p)
}

// CheckFree returns an error unless the path can become a pin: it does not exist ([fs.ErrExist]), bpffs
// accepts the names of its missing parts ([ErrName]), and no other user can change the directories above
// it ([ErrUnsafe]).
func (p *Path) CheckFree() error {
	if err := p.checkBPFFS(); err != nil {
		return err
	}
	if p.exists() {
		return fs.ErrExist
	}
	for _, name := range p.Names {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return p.Unsafe
}

// regular returns [ErrNotPin] unless p, an entry of a bpffs, is a regular file. All regular files on a bpffs are
// pins: bpf_dir_iops in kernel/bpf/inode.c has no create operation.
func regular(p *Path) error {
	switch kind := p.mode & unix.S_IFMT; {
	case p.File < 0, kind == unix.S_IFDIR:
		return fmt.Errorf("%w: it is a directory", ErrNotPin)
	case kind == unix.S_IFLNK:
		return fmt.Errorf("%w: it is a symbolic link", ErrNotPin)
	}
	return nil
}

// nowhere reports whether err, from opening an entry of a directory, means that the entry does not exist. On
// bpffs this includes EPERM, which the kernel returns if the name has a dot (bpf_lookup in kernel/bpf/inode.c).
func nowhere(err error) bool {
	return isMissing(err) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EPERM)
}

// ByHandle returns a path to the file of a handle, for calls that need a path. BPF_OBJ_PIN and BPF_OBJ_GET
// accept the descriptor of a directory only since Linux 6.5, and never the descriptor of a pin.
func ByHandle(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
