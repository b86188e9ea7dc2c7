package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Kernel is a kernel to boot.
type Kernel struct {
	// Name is the name on the command line: 6.12, 6.12/arm64, a path, or a tag such as v6.12.
	Name string
	// Listed is its name in the form of kernels.txt, empty for a path or a tag.
	Listed string
	// Arch is the architecture, as a GOARCH value.
	Arch string
	// Release is the output of uname -r, empty if it is not known before the boot.
	Release string
	// Image is the path of the bzImage or of arm64's Image, empty for a tag, whose kernel virtme-ng
	// fetches.
	Image string
	// PVH is the path of the same kernel as an ELF file, which qemu boots faster, or empty.
	PVH string
	// Tree is the directory with lib/modules/RELEASE, or empty.
	Tree string
}

var upstream = regexp.MustCompile(`^v\d+(\.\d+)*(-rc\d+)?$`)

// Named returns the kernel that a name on the command line denotes: a kernel of the store, the path
// of an image, or an upstream tag.
func (s Store) Named(ctx context.Context, name string) (Kernel, error) {
	switch {
	case IsName(name):
		return s.Kernel(ctx, name)
	case strings.Contains(name, "/"):
		return FromImage(name)
	case upstream.MatchString(name):
		return Kernel{Name: name, Arch: Architectures[0]}, nil
	}
	_, err := ParseName(name)
	return Kernel{}, err
}

// FromImage returns the kernel of any image. It looks for the modules where distributions install
// them: beside the image, or in /lib/modules.
func FromImage(path string) (Kernel, error) {
	image, err := filepath.Abs(path)
	if err != nil {
		return Kernel{}, err
	}
	arch, release, err := readImage(image)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel %q: %w", path, err)
	}
	k := Kernel{Name: path, Arch: arch, Release: release, Image: image}
	above := filepath.Dir(filepath.Dir(image)) // of TREE/boot/vmlinuz-RELEASE
	inTree := strings.TrimSuffix(filepath.Dir(image), "/lib/modules/"+release)
	for _, tree := range []string{inTree, above, "/"} {
		if _, err := os.Stat(filepath.Join(tree, "lib/modules", release, "modules.dep")); err == nil {
			k.Tree = tree
			break
		}
	}
	return k, nil
}

// fromTree returns the kernel in a directory that [prepareKernel] has prepared.
func fromTree(tree string) (Kernel, error) {
	tree, err := filepath.EvalSymlinks(tree)
	if err != nil {
		return Kernel{}, err
	}
	image, err := imageIn(tree)
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{Tree: tree, Image: image}
	if k.Arch, k.Release, err = readImage(image); err != nil {
		return Kernel{}, err
	}
	if pvh := filepath.Join(tree, "vmlinux"); isELF(pvh) {
		k.PVH = pvh
	}
	return k, nil
}

func imageIn(tree string) (string, error) {
	for _, pattern := range []string{"usr/lib/modules/*/vmlinuz", "boot/vmlinuz-*"} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err == nil && len(found) > 0 {
			return filepath.EvalSymlinks(found[0])
		}
	}
	return "", fmt.Errorf("no kernel image in %s", tree)
}

// prepareKernel adds two things to an unpacked kernel package: the dependencies of its modules
// (modules.dep) and, on amd64, the kernel as an ELF file.
func prepareKernel(ctx context.Context, tree string) error {
	if _, err := os.Stat(filepath.Join(tree, "lib")); errors.Is(err, os.ErrNotExist) {
		if err := os.Symlink("usr/lib", filepath.Join(tree, "lib")); err != nil {
			return err
		}
	}
	image, err := imageIn(tree)
	if err != nil {
		return err
	}
	arch, release, err := readImage(image)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "depmod", "-a", "-b", tree, release).CombinedOutput(); err != nil {
		return fmt.Errorf("depmod: %w: %s", err, out)
	}
	if arch != "amd64" {
		return nil
	}
	return extract(ctx, image, filepath.Join(tree, "vmlinux"))
}
