package pin

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

// place is a resolved path: a handle of the last directory on it that exists, and the names behind
// it. Operations on the handles do not resolve the path again.
type place struct {
	dir    int    // O_PATH
	at     string // the path of dir
	bpffs  bool   // whether dir lies on one
	names  []string
	file   int // O_PATH of dir's entry names[0]; -1 where that is missing, or the path is dir itself
	mode   uint32
	unsafe error // [ErrUnsafe] if others can change what is in dir or above it
}

// maxLinks bounds the symbolic links in a path, as MAXSYMLINKS (include/linux/namei.h).
const maxLinks = 40

// find resolves path, parts of which may be missing. follow says whether to follow a symbolic link at
// its end. The caller closes the place.
//
// Anyone may make symbolic links on a bpffs, so find refuses those of users other than the caller and
// root: [ErrUnsafe].
func find(path string, follow bool) (_ *place, err error) {
	if path == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrName)
	}
	path = filepath.Clean(path)
	if len(path) >= unix.PathMax {
		return nil, reason(unix.ENAMETOOLONG)
	}
	p := &place{dir: -1, file: -1}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := p.begin(filepath.IsAbs(path)); err != nil {
		return nil, err
	}
	parts := split(path)
	for links := 0; len(parts) > 0; {
		fd, err := unix.Openat(p.dir, parts[0], unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if nowhere(err) {
			p.names = parts
			return p, nil
		}
		if err != nil {
			return nil, reason(err)
		}
		target, err := p.step(fd, parts, follow)
		if err != nil {
			return nil, err
		}
		if p.file >= 0 {
			return p, nil
		}
		parts = parts[1:]
		if target == "" {
			continue
		}
		if links++; links > maxLinks {
			return nil, reason(unix.ELOOP)
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

// split returns the parts of a path below its beginning.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}

// begin enters the root directory or the current one.
func (p *place) begin(root bool) error {
	at := "."
	if root {
		at = "/"
	}
	fd, err := unix.Open(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return reason(err)
	}
	p.at, p.bpffs = "", false
	return p.enter(fd, at)
}

// step makes fd, the entry parts[0], the next directory, or the file if it is the last part. It returns
// the target of a symbolic link to follow.
func (p *place) step(fd int, parts []string, follow bool) (target string, err error) {
	st, err := stat(fd)
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
		p.file, p.mode, p.names = fd, st.Mode, parts
		return "", nil
	case kind != unix.S_IFDIR:
		unix.Close(fd)
		if !p.bpffs {
			return "", ErrNotBPFFS
		}
		return "", explain.Error(unix.ENOTDIR, "%s is not a directory", filepath.Join(p.at, parts[0]))
	}
	return "", p.enter(fd, parts[0])
}

func (p *place) readLink(fd int, name string, owner uint32) (target string, err error) {
	if p.bpffs && !isTrusted(owner) {
		return "", fmt.Errorf("%w: %s is a symbolic link of user %d", ErrUnsafe, filepath.Join(p.at, name), owner)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", reason(err)
	}
	return string(buf[:n]), nil
}

// enter makes fd, the directory name in dir, the new dir.
func (p *place) enter(fd int, name string) error {
	if p.dir >= 0 {
		unix.Close(p.dir)
	}
	p.dir = fd
	p.at = filepath.Join(p.at, name)
	above := p.bpffs
	var err error
	if p.bpffs, err = isBPFFS(fd); err != nil {
		return reason(err)
	}
	if !p.bpffs || !above || p.unsafe != nil {
		return nil // the root of a bpffs is the business of the user who mounted it
	}
	st, err := stat(fd)
	if err != nil {
		return err
	}
	p.unsafe = checkOwner(p.at, st)
	return nil
}

// checkOwner returns [ErrUnsafe] for a directory in which another user can replace the caller's
// entries. The root of a bpffs is not checked: the user who mounted it owns it, and bpf_fill_super
// in kernel/bpf/inode.c makes it sticky regardless of the mount's mode=.
func checkOwner(dir string, st unix.Stat_t) error {
	if !isTrusted(st.Uid) {
		return fmt.Errorf("%w: directory %s belongs to user %d", ErrUnsafe, dir, st.Uid)
	}
	if st.Mode&unix.S_ISVTX != 0 {
		return nil // an entry is renamed and removed only by its owner and the directory's
	}
	byGroup := st.Mode&unix.S_IWGRP != 0 && st.Gid != 0 && int(st.Gid) != os.Getegid()
	if byGroup || st.Mode&unix.S_IWOTH != 0 {
		return fmt.Errorf("%w: directory %s can be written to by others (mode %04o)", ErrUnsafe, dir, st.Mode&0o7777)
	}
	return nil
}

// isTrusted reports whether a user is the caller or root.
func isTrusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

func stat(fd int) (st unix.Stat_t, err error) {
	if err := unix.Fstat(fd, &st); err != nil {
		return st, reason(err)
	}
	return st, nil
}

func (p *place) close() {
	for _, fd := range []int{p.dir, p.file} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// exists reports whether the whole path exists.
func (p *place) exists() bool { return p.file >= 0 || len(p.names) == 0 }

// handle returns the handle of the whole path, which exists.
func (p *place) handle() int {
	if p.file >= 0 {
		return p.file
	}
	return p.dir
}

// checkBPFFS says whether the path, or what exists of it, lies on a bpffs.
func (p *place) checkBPFFS() error {
	on := p.bpffs
	if p.exists() {
		var err error
		if on, err = isBPFFS(p.handle()); err != nil {
			return reason(err)
		}
	}
	if !on {
		return ErrNotBPFFS
	}
	return nil
}

// checkPin says whether the path is that of a pin.
func (p *place) checkPin() error {
	if err := p.checkBPFFS(); err != nil {
		return err
	}
	if !p.exists() {
		if err := checkName(p.names[0]); err != nil {
			return explain.Error(fs.ErrNotExist, "no such pin (%s)", err)
		}
		return fs.ErrNotExist
	}
	return regular(p)
}

// checkFree says whether the path can be pinned to: it is missing, and what is missing has names
// that bpffs takes, below a directory that is the caller's to use.
func (p *place) checkFree() error {
	if err := p.checkBPFFS(); err != nil {
		return err
	}
	if p.exists() {
		return fs.ErrExist
	}
	for _, name := range p.names {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return p.unsafe
}

// regular says whether an entry of a bpffs is a pin. It has no other regular
// files: bpf_dir_iops in kernel/bpf/inode.c has no create.
func regular(p *place) error {
	switch kind := p.mode & unix.S_IFMT; {
	case p.file < 0, kind == unix.S_IFDIR:
		return fmt.Errorf("%w: it is a directory", ErrNotPin)
	case kind == unix.S_IFLNK:
		return fmt.Errorf("%w: it is a symbolic link", ErrNotPin)
	}
	return nil
}

// nowhere reports whether err, from a lookup, leaves open that a part of the
// path exists. The kernel answers EPERM for a name with a dot (bpf_lookup in
// kernel/bpf/inode.c), and never else for a lookup on bpffs.
func nowhere(err error) bool {
	return missing(err) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EPERM)
}

// byHandle returns a path to the file of a handle, for calls that take only paths: BPF_OBJ_PIN and
// BPF_OBJ_GET take a directory's descriptor from Linux 6.5 on, and a pin's on no kernel.
func byHandle(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
