package bpffs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
)

// CheckSafe returns an error matching [ErrUnsafe] if a user other than the caller and root can change
// the pins in dir, or replace dir. Parts of dir may be missing.
func CheckSafe(dir string) error {
	p, err := Resolve(filepath.Join(dir, "x"), false) // an entry of dir, so that dir itself is checked
	if err == nil {
		defer p.Close()
		err = p.Unsafe
	}
	if err != nil {
		return fmt.Errorf("use %q: %w", dir, err)
	}
	return nil
}

// MissingParents returns the directories above path that do not exist, the deepest first. A caller that may
// have to undo a pin calls it before pinning, to know which directories to remove.
func MissingParents(path string) []string {
	var dirs []string
	for dir := filepath.Dir(filepath.Clean(path)); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return dirs // "/" and "." exist
		}
		dirs = append(dirs, dir)
	}
}

// entry is a directory that MakeParents created: a handle of its parent, and its name.
type entry struct {
	dir  int
	name string
}

// MakeParents creates the missing directories above the path, with mode 0755 less the umask. Afterwards Dir is
// the last of them and Names has one element. After an error the caller must call RemoveParents.
func (p *Path) MakeParents() error {
	for len(p.Names) > 1 {
		if err := p.mkdir(); err != nil {
			return err
		}
	}
	return nil
}

// RemoveParents removes the directories that MakeParents created, the deepest first. It keeps a directory in
// which another process has created an entry.
func (p *Path) RemoveParents() {
	for _, e := range slices.Backward(p.made) {
		unix.Unlinkat(e.dir, e.name, unix.AT_REMOVEDIR)
	}
}

// mkdir creates the first missing directory, if another process has not just created it, and makes it p.Dir.
func (p *Path) mkdir() error {
	name := p.Names[0]
	err := unix.Mkdirat(p.Dir, name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return Reason(err)
	}
	if err == nil {
		dir, err := unix.FcntlInt(uintptr(p.Dir), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return errors.Join(Reason(err), unix.Unlinkat(p.Dir, name, unix.AT_REMOVEDIR))
		}
		p.made = append(p.made, entry{dir, name})
	}
	fd, err := unix.Openat(p.Dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Reason(err)
	}
	if err := p.enter(fd, name); err != nil {
		return err
	}
	p.Names = p.Names[1:]
	return p.Unsafe
}

// checkName returns [ErrName] unless bpffs accepts an entry of this name: bpf_lookup in
// kernel/bpf/inode.c reserves names with a dot for the kernel.
func checkName(name string) error {
	switch {
	case strings.Contains(name, "."):
		return fmt.Errorf("%w: %q has a dot, which bpffs reserves for the kernel's own entries", ErrName, name)
	case len(name) > unix.NAME_MAX:
		return explain.Error(errors.Join(ErrName, unix.ENAMETOOLONG), "%v: %d bytes are more than %d", ErrName, len(name), unix.NAME_MAX)
	}
	return nil
}
