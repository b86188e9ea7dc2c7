package kernels

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Userland returns a directory that guests of another architecture than the host's have as their
// root: Debian's programs for that architecture, unpacked and not configured.
func (s Store) Userland(ctx context.Context, arch string) (string, error) {
	sum := crc32.ChecksumIEEE([]byte(strings.Join(s.List.Programs, " ")))
	tree := fmt.Sprintf("userland-%s-%s-%08x", s.List.Userland, arch, sum)
	link := filepath.Join(s.dir(), "userland-"+arch)
	if at, err := os.Readlink(link); err == nil && at != tree {
		if err := os.Remove(link); err != nil { // of another list of programs
			return "", fmt.Errorf("get userland of %s: %w", arch, err)
		}
	}
	find := func(a apt) (string, []pkg, error) {
		pkgs, err := a.closure(ctx, s.List.Userland, s.List.Programs)
		return tree, pkgs, err
	}
	if err := s.provide(ctx, arch, link, find, prepareUserland); err != nil {
		return "", fmt.Errorf("get userland of %s: %w", arch, err)
	}
	return filepath.EvalSymlinks(link)
}

// printedURI matches a line of apt-get --print-uris: the URI, and the name of the file, which has
// the name, version and architecture of the package.
var printedURI = regexp.MustCompile(`(?m)^'[^']*' ([^_ ]+)_([^_ ]+)_[^_ ]+\.deb `)

// closure returns packages of a suite with all that they depend on.
func (a apt) closure(ctx context.Context, suite string, names []string) ([]pkg, error) {
	args := append(a.options(), "-o", "APT::Default-Release="+suite, "--print-uris", "--no-install-recommends", "install")
	out, err := exec.CommandContext(ctx, "apt-get", append(args, names...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("find dependencies of %v in %s: %w", names, suite, err)
	}
	var pkgs []pkg
	for _, m := range printedURI.FindAllStringSubmatch(string(out), -1) {
		version, err := url.PathUnescape(m[2])
		if err != nil {
			return nil, fmt.Errorf("read output of apt-get: %w", err)
		}
		pkgs = append(pkgs, pkg{m[1], version})
	}
	if len(pkgs) == 0 {
		return nil, errors.New("apt-get names no package")
	}
	return pkgs, nil
}

// prepareUserland does what the maintainer scripts would do that vmtest needs: it merges /bin, /lib
// and /sbin into /usr, and writes the users, the hosts and the link awk.
func prepareUserland(ctx context.Context, tree string) error {
	for _, dir := range []string{"bin", "lib", "sbin"} {
		from, to := filepath.Join(tree, dir), filepath.Join(tree, "usr", dir)
		if out, err := exec.CommandContext(ctx, "cp", "-a", from+"/.", to+"/").CombinedOutput(); err != nil {
			return fmt.Errorf("merge /%s: %w: %s", dir, err, out)
		}
		if err := os.RemoveAll(from); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+dir, from); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{"passwd.master": "passwd", "group.master": "group"} {
		text, err := os.ReadFile(filepath.Join(tree, "usr/share/base-passwd", from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, "etc", to), text, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/hosts"), []byte("127.0.0.1 localhost\n::1 localhost\n"), 0o644); err != nil {
		return err
	}
	return os.Symlink("mawk", filepath.Join(tree, "usr/bin/awk"))
}
