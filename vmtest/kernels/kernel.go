package kernels

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Kernel is a kernel to boot.
type Kernel struct {
	// Name is the name on the command line: a series, a path, or a tag such as v6.12.
	Name string
	// Series is its series in kernels.txt, empty if the kernel is not in that list.
	Series string
	// Release is the output of uname -r, empty if it is not known before the boot.
	Release string
	// Image is the path of the bzImage, empty for a tag, whose kernel virtme-ng fetches.
	Image string
	// PVH is the path of the same kernel as an ELF file, which qemu boots faster, or empty.
	PVH string
	// Tree is the directory with lib/modules/RELEASE, or empty.
	Tree string
}

var upstream = regexp.MustCompile(`^v\d+(\.\d+)*(-rc\d+)?$`)

// Named returns the kernel that a name on the command line denotes: a series of the store, the path
// of a bzImage, or an upstream tag.
func (s Store) Named(ctx context.Context, name string) (Kernel, error) {
	switch {
	case strings.Contains(name, "/"):
		return FromImage(name)
	case upstream.MatchString(name):
		return Kernel{Name: name}, nil
	}
	return s.Kernel(ctx, name)
}

// FromImage returns the kernel of any bzImage. It looks for the modules where distributions install
// them: beside the image, or in /lib/modules.
func FromImage(path string) (Kernel, error) {
	image, err := filepath.Abs(path)
	if err != nil {
		return Kernel{}, err
	}
	release, err := imageRelease(image)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel %q: %w", path, err)
	}
	k := Kernel{Name: path, Release: release, Image: image}
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
	if k.Release, err = imageRelease(image); err != nil {
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
// (modules.dep), and the kernel as an ELF file.
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
	release, err := imageRelease(image)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "depmod", "-a", "-b", tree, release).CombinedOutput(); err != nil {
		return fmt.Errorf("depmod: %w: %s", err, out)
	}
	return extract(ctx, image, filepath.Join(tree, "vmlinux"))
}

// Offsets in the header of a bzImage (Documentation/arch/x86/boot.rst).
const (
	setupSects    = 0x1f1
	headerMagic   = 0x202 // "HdrS"
	kernelVersion = 0x20e
	payloadOffset = 0x248
	payloadLength = 0x24c
	headerEnd     = 0x250
)

func header(r io.ReaderAt) ([]byte, error) {
	h := make([]byte, headerEnd)
	if _, err := r.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("not a bzImage: %w", err)
	}
	if string(h[headerMagic:headerMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage: it has no HdrS header")
	}
	return h, nil
}

// imageRelease reads the kernel's release from the bzImage header: the first word of the version
// string.
func imageRelease(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h, err := header(f)
	if err != nil {
		return "", err
	}
	version := make([]byte, 256)
	at := int64(binary.LittleEndian.Uint16(h[kernelVersion:])) + 0x200
	if n, err := f.ReadAt(version, at); n == 0 {
		return "", fmt.Errorf("read version: %w", err)
	}
	release, _, _ := strings.Cut(string(version), " ")
	if release == "" || strings.ContainsAny(release, "\x00/") {
		return "", errors.New("read version: the image has no version string")
	}
	return release, nil
}

// extract decompresses the ELF kernel inside a bzImage into the file path. If it does not know the
// compression, it writes no file and returns nil.
func extract(ctx context.Context, image, path string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := header(f)
	if err != nil {
		return err
	}
	start := (int64(h[setupSects])+1)*512 + int64(binary.LittleEndian.Uint32(h[payloadOffset:]))
	// The last four bytes are the uncompressed size.
	payload := io.NewSectionReader(f, start, int64(binary.LittleEndian.Uint32(h[payloadLength:]))-4)
	magic := make([]byte, 4)
	if _, err := payload.ReadAt(magic, 0); err != nil {
		return fmt.Errorf("read payload: %w", err)
	}
	var tool []string
	switch string(magic) {
	case "\x28\xb5\x2f\xfd":
		tool = []string{"zstd", "-dcq"}
	case "\xfd7zX":
		tool = []string{"xz", "-dc", "--single-stream"}
	default:
		return nil
	}
	return decompress(ctx, tool, payload, path)
}

func decompress(ctx context.Context, tool []string, from io.Reader, path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool[0], tool[1:]...)
	cmd.Stdin, cmd.Stdout = from, out
	// The error is reported only if the result is bad: xz and zstd write all output, then fail at
	// the data that follow the compressed stream.
	runErr := cmd.Run()
	if err := out.Close(); err != nil {
		return err
	}
	if !isELF(path) {
		return errors.Join(fmt.Errorf("decompress kernel with %s: output is not an ELF file: %w", tool[0], runErr), os.Remove(path))
	}
	return nil
}

func isELF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == "\x7fELF"
}
