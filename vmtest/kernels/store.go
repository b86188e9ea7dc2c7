package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is a directory of unpacked kernels and of virtme-ng. Several processes may use it at once.
type Store struct {
	// Dir is the directory, created if it is missing.
	Dir string
	// List is the list of kernels.
	List List
	// Refresh fetches newer builds of kernels in the store.
	Refresh bool
	// Log, if not nil, is called before slow operations.
	Log func(format string, args ...any)
}

// complete is the last file written into an unpacked tree.
const complete = ".complete"

// Kernel returns the newest build of a series, such as "6.12". For a kernel in the store it needs
// no network.
func (s Store) Kernel(ctx context.Context, series string) (Kernel, error) {
	if err := checkSeries(series); err != nil {
		return Kernel{}, err
	}
	tree := filepath.Join(s.dir(), series)
	find := func(a apt) ([]pkg, error) { return a.newest(ctx, series) }
	if err := s.provide(ctx, tree, find, prepareKernel); err != nil {
		return Kernel{}, fmt.Errorf("get kernel %s: %w", series, err)
	}
	k, err := fromTree(tree)
	k.Name, k.Series = series, series
	return k, err
}

// VirtmeNG returns the directory into which virtme-ng is unpacked.
func (s Store) VirtmeNG(ctx context.Context) (string, error) {
	tree := filepath.Join(s.dir(), "virtme-ng")
	name, version, ok := strings.Cut(s.List.VirtmeNG, "=")
	if !ok {
		return "", fmt.Errorf("get virtme-ng: not PACKAGE=VERSION: %q", s.List.VirtmeNG)
	}
	find := func(apt) ([]pkg, error) { return []pkg{{name, version}}, nil }
	if err := s.provide(ctx, tree, find, nil); err != nil {
		return "", fmt.Errorf("get virtme-ng: %w", err)
	}
	return filepath.EvalSymlinks(tree)
}

func (s Store) dir() string { return filepath.Join(s.Dir, "kernels") }

// provide makes link name a complete tree of the packages that find returns; prepare, if not nil,
// prepares a new tree.
func (s Store) provide(ctx context.Context, link string, find func(apt) ([]pkg, error), prepare func(context.Context, string) error) error {
	if _, err := os.Stat(filepath.Join(link, complete)); err == nil && !s.Refresh {
		return nil
	}
	if err := os.MkdirAll(s.dir(), 0o755); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(s.dir(), ".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	a := apt{dir: filepath.Join(s.dir(), ".apt")}
	if err := a.update(ctx, s.List, s.Refresh); err != nil {
		return err
	}
	tree, err := s.fetch(ctx, a, find, prepare)
	if err != nil && a.trouble != "" {
		err = fmt.Errorf("%w (not all lists could be read: %s)", err, a.trouble)
	}
	if err != nil {
		return err
	}
	return replaceLink(tree, link)
}

// fetch downloads the packages unless they are in the store, and returns their tree.
func (s Store) fetch(ctx context.Context, a apt, find func(apt) ([]pkg, error), prepare func(context.Context, string) error) (string, error) {
	pkgs, err := find(a)
	if err != nil {
		return "", err
	}
	tree := treeName(pkgs[0])
	if _, err := os.Stat(filepath.Join(s.dir(), tree, complete)); err == nil {
		return tree, nil
	}
	if s.Log != nil {
		s.Log("fetch %v", pkgs)
	}
	return tree, s.unpack(ctx, a, pkgs, tree, prepare)
}

// treeName returns the kernel's release, or the name of another package.
func treeName(p pkg) string {
	for _, prefix := range []string{"linux-image-", "linux-binary-"} {
		if release, ok := strings.CutPrefix(p.name, prefix); ok {
			return release
		}
	}
	return p.name + "_" + p.version
}

// unpack downloads and unpacks beside the tree and renames: a tree with its last file is complete.
func (s Store) unpack(ctx context.Context, a apt, pkgs []pkg, tree string, prepare func(context.Context, string) error) error {
	tmp, err := os.MkdirTemp(s.dir(), ".new.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	root, debs := filepath.Join(tmp, "root"), filepath.Join(tmp, "deb")
	for _, d := range []string{root, debs} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := a.download(ctx, pkgs, debs, root); err != nil {
		return err
	}
	if prepare != nil {
		if err := prepare(ctx, root); err != nil {
			return err
		}
	}
	var names strings.Builder
	for _, p := range pkgs {
		fmt.Fprintln(&names, p)
	}
	if err := os.WriteFile(filepath.Join(root, complete), []byte(names.String()), 0o644); err != nil {
		return err
	}
	final := filepath.Join(s.dir(), tree)
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(root, final)
}

func replaceLink(target, link string) error {
	tmp := link + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, link)
}

// lock takes an exclusive lock, which ends with the process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
