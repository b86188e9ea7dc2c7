package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is a directory of unpacked kernels and of virtme-ng. Several processes may use one
// directory at the same time.
type Store struct {
	// Dir is the directory, created if it is missing.
	Dir string
	// List says which suites to search for kernels, and which version of virtme-ng to use.
	List List
	// Refresh makes the store fetch a newer build of a kernel that it has, if there is one.
	Refresh bool
	// Log, if not nil, is called before slow operations with a message for the user.
	Log func(format string, args ...any)
}

// complete is the name of the file that is written last into an unpacked tree: a tree that has it
// is whole.
const complete = ".complete"

// Kernel returns the kernel with a name such as 6.12 or 7.2-16k/arm64: the build in the store or, if
// there is none or Refresh is set, the newest build of the mirror.
func (s Store) Kernel(ctx context.Context, name string) (Kernel, error) {
	n, err := ParseName(name)
	if err != nil {
		return Kernel{}, err
	}
	link := n.Series
	if n.debian() != Architectures[0] {
		link += "-" + n.debian()
	}
	find := func(a apt) (string, []pkg, error) {
		pkgs, err := a.newest(ctx, n)
		if err != nil {
			return "", nil, err
		}
		return treeName(pkgs[0]), pkgs, nil
	}
	tree := filepath.Join(s.dir(), link)
	if err := s.provide(ctx, n.Arch, tree, find, prepareKernel); err != nil {
		return Kernel{}, fmt.Errorf("get kernel %s: %w", name, err)
	}
	k, err := fromTree(tree)
	k.Name, k.Listed = name, n.String()
	return k, err
}

// VirtmeNG returns the directory into which virtme-ng is unpacked.
func (s Store) VirtmeNG(ctx context.Context) (string, error) {
	tree := filepath.Join(s.dir(), "virtme-ng")
	name, version, ok := strings.Cut(s.List.VirtmeNG, "=")
	if !ok {
		return "", fmt.Errorf("get virtme-ng: %q is not PACKAGE=VERSION", s.List.VirtmeNG)
	}
	find := func(apt) (string, []pkg, error) { p := pkg{name, version}; return treeName(p), []pkg{p}, nil }
	if err := s.provide(ctx, runtime.GOARCH, tree, find, nil); err != nil {
		return "", fmt.Errorf("get virtme-ng: %w", err)
	}
	return filepath.EvalSymlinks(tree)
}

func (s Store) dir() string { return filepath.Join(s.Dir, "kernels") }

// finder returns the packages of a tree and the tree's name.
type finder func(apt) (tree string, pkgs []pkg, err error)

// provide makes link a symbolic link to a complete tree of the packages of arch that find returns.
// If it unpacks a new tree and prepare is not nil, it calls prepare on the tree.
func (s Store) provide(ctx context.Context, arch, link string, find finder, prepare func(context.Context, string) error) error {
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
	a := apt{dir: filepath.Join(s.dir(), ".apt-"+arch), arch: arch}
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

// fetch returns the name of the tree with the packages that find returns. It downloads them unless
// the store has them.
func (s Store) fetch(ctx context.Context, a apt, find finder, prepare func(context.Context, string) error) (string, error) {
	tree, pkgs, err := find(a)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(s.dir(), tree, complete)); err == nil {
		return tree, nil
	}
	if s.Log != nil {
		s.Log("fetch %s: %v", tree, pkgs[:min(len(pkgs), 3)])
	}
	return tree, s.unpack(ctx, a, pkgs, tree, prepare)
}

// treeName returns the name of the tree of package p: the kernel's release or, for other packages,
// name and version.
func treeName(p pkg) string {
	for _, prefix := range []string{"linux-image-", "linux-binary-"} {
		if release, ok := strings.CutPrefix(p.name, prefix); ok {
			return release
		}
	}
	return p.name + "_" + p.version
}

// unpack builds the tree in a temporary directory and renames it to its place. It writes the file
// [complete] last: a tree that has it is whole.
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

// lock takes an exclusive lock on the file path. The kernel releases it when the process ends.
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
