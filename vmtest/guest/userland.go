package guest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// composeRoot makes the mount point of userland a memory file system with the links of userland,
// and its programs and their configuration, mounted. Elsewhere shares can be mounted at any path.
func composeRoot(userland mount) error {
	root := userland.target
	userland.target = filepath.Join(filepath.Dir(root), "userland")
	for _, m := range []mount{userland, {"tmpfs", root, "tmpfs", 0, "mode=755"}} {
		if err := m.do(); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(userland.target)
	if err != nil {
		return fmt.Errorf("compose root: %w", err)
	}
	for _, e := range entries {
		from, to := filepath.Join(userland.target, e.Name()), filepath.Join(root, e.Name())
		switch {
		case e.Type() == os.ModeSymlink:
			var target string
			if target, err = os.Readlink(from); err == nil {
				err = os.Symlink(target, to)
			}
		case e.Name() == "usr" || e.Name() == "etc":
			err = mount{from, to, "", unix.MS_BIND, ""}.do()
		}
		if err != nil {
			return fmt.Errorf("compose root: %w", err)
		}
	}
	return nil
}
