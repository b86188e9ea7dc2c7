package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
)

// Check finds out, without changing anything, whether path can be pinned to:
// it lies on a bpffs, does not exist yet, what is missing of it has names
// that bpffs accepts, and no other user can change the directories above it
// ([ErrUnsafe]). Such directories may be missing; [Map] makes them.
func Check(path string) error {
	p, err := find(path, false)
	if err == nil {
		defer p.close()
		err = p.checkFree()
	}
	if err != nil {
		return fmt.Errorf("pin to %q: %w", path, err)
	}
	return nil
}

// CheckSafe returns an error matching [ErrUnsafe] if a user other than the caller and root can change
// the pins in dir, or replace dir. Parts of dir may be missing.
func CheckSafe(dir string) error {
	// As for an entry of it.
	p, err := find(filepath.Join(dir, "x"), false)
	if err == nil {
		defer p.close()
		err = p.unsafe
	}
	if err != nil {
		return fmt.Errorf("use %q: %w", dir, err)
	}
	return nil
}

// Missing returns the directories above path that do not exist, the deepest first:
// those that [Map] would make. With it a caller can undo a pin whole.
func Missing(path string) []string {
	var dirs []string
	for dir := filepath.Dir(filepath.Clean(path)); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return dirs // "/" and "." exist
		}
		dirs = append(dirs, dir)
	}
}

// checkName says whether bpffs takes an entry of this name: bpf_lookup in
// kernel/bpf/inode.c keeps names with a dot for the kernel.
func checkName(name string) error {
	switch {
	case strings.Contains(name, "."):
		return fmt.Errorf("%w: %q has a dot, which bpffs keeps for the kernel's own names", ErrName, name)
	case len(name) > unix.NAME_MAX:
		return explain.Error(errors.Join(ErrName, unix.ENAMETOOLONG), "%v: %d bytes are more than %d", ErrName, len(name), unix.NAME_MAX)
	}
	return nil
}
