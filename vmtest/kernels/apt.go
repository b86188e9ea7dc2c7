package kernels

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// apt runs apt with a private configuration below dir. It neither changes nor uses the sources,
// lists and packages of the system.
type apt struct {
	dir string
	// arch is the architecture of the packages.
	arch string
	// trouble is the reason why update could not read all lists, or empty.
	trouble string
}

// pkg is one version of a package.
type pkg struct{ name, version string }

func (p pkg) String() string { return p.name + "=" + p.version }

func (a apt) options() []string {
	options := []string{
		"Dir::Etc::SourceList=" + a.sources(), "Dir::Etc::SourceParts=/dev/null",
		"Dir::Etc::Preferences=/dev/null", "Dir::Etc::PreferencesParts=/dev/null",
		"Dir::State=" + a.dir + "/state", "Dir::State::status=/dev/null",
		"Dir::Cache=" + a.dir + "/cache", "Dir::Cache::pkgcache=pkgcache.bin", "Dir::Cache::srcpkgcache=",
		"APT::Architecture=" + a.arch, "APT::Architectures=" + a.arch, "APT::Sandbox::User=",
		"Acquire::Languages=none", "Acquire::GzipIndexes=true",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"Acquire::Check-Valid-Until=false", "Acquire::Retries=3", "Acquire::http::Timeout=30",
		"APT::Update::Error-Mode=any", // by default apt ignores failures of the network
	}
	args := []string{"-q"}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	return args
}

func (a apt) sources() string { return filepath.Join(a.dir, "sources.list") }

// updateLimit is the longest time that an update may take.
const updateLimit = 5 * time.Minute

// update reads the lists of the suites, unless it did so in the last day. If the mirror no longer
// has a suite, update sets trouble and goes on: the suite may not be needed. It fails only if it
// could read no list.
func (a *apt) update(ctx context.Context, l List, refresh bool) error {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	want, err := sourcesList(ctx, l)
	if err != nil {
		return err
	}
	stamp := filepath.Join(a.dir, "stamp")
	have, _ := os.ReadFile(a.sources()) // a missing file differs from want
	st, err := os.Stat(stamp)
	if err == nil && !refresh && bytes.Equal(have, want) && time.Since(st.ModTime()) < 24*time.Hour {
		return nil
	}
	if err := os.WriteFile(a.sources(), want, 0o644); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, updateLimit)
	defer cancel()
	out, err := exec.CommandContext(bounded, "apt-get", append(a.options(), "update")...).CombinedOutput()
	if err == nil {
		return os.WriteFile(stamp, nil, 0o644)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.trouble = fmt.Sprintf("apt-get update: %v: %s", err, complaint(out))
	lists, err := filepath.Glob(filepath.Join(a.dir, "state/lists/*_Packages*"))
	if err == nil && len(lists) == 0 {
		err = errors.New(a.trouble)
	}
	return err
}

var complaints = regexp.MustCompile(`(?m)^[EW]: .*`)

// complaint returns the first error or warning of apt.
func complaint(out []byte) string {
	if first := complaints.Find(out); first != nil {
		return string(first)
	}
	return "apt gave no reason"
}

// sourcesList returns the sources.list for the suites of l.
func sourcesList(ctx context.Context, l List) ([]byte, error) {
	main, security, err := mirrors(ctx)
	if err != nil {
		return nil, err
	}
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	by := ""
	if _, err := os.Stat(keyring); err == nil {
		by = "[signed-by=" + keyring + "] "
	}
	var b bytes.Buffer
	for _, suite := range l.Debian {
		fmt.Fprintf(&b, "deb %s%s %s main\n", by, main, suite)
	}
	for _, suite := range l.Security {
		if security != "" {
			fmt.Fprintf(&b, "deb %s%s %s main\n", by, security, suite)
		}
	}
	return b.Bytes(), nil
}

var releaseFile = regexp.MustCompile(`(?m)^'(.*)/dists/([^/']*)/InRelease'`)
var mainSuite = regexp.MustCompile(`^(bullseye|bookworm|trixie|forky|sid|(old)*stable|testing|unstable)$`)

// mirrors returns the mirrors that the machine's apt is configured to use. They are known even
// before the machine's first "apt-get update". Environment variables override them.
func mirrors(ctx context.Context) (main, security string, err error) {
	main, security = os.Getenv("VMTEST_MIRROR"), os.Getenv("VMTEST_SECURITY_MIRROR")
	if main != "" && security != "" {
		return main, security, nil
	}
	// The error is ignored: apt-get prints the mirrors even if it then fails to lock its directory
	// of lists.
	out, err := exec.CommandContext(ctx, "apt-get", "--print-uris", "update").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", "", fmt.Errorf("find mirror: %w (without apt, use -kernel PATH)", err)
	}
	for _, m := range releaseFile.FindAllStringSubmatch(string(out), -1) {
		switch uri, suite := m[1], m[2]; {
		case mainSuite.MatchString(suite):
			main = cmp.Or(main, uri)
		case strings.HasSuffix(suite, "-security"):
			security = cmp.Or(security, uri)
		}
	}
	if main == "" {
		return "", "", errors.New("find mirror: no Debian suite in the sources of apt (set VMTEST_MIRROR to a Debian mirror)")
	}
	return main, security, nil
}

// kernelPackages matches the names of packages with an image of the kernel:
// linux-binary-RELEASE from 6.19 on, linux-image-RELEASE before. Metapackages, such as
// linux-image-6.1-amd64, do not match.
func kernelPackages(n Name) *regexp.Regexp {
	s := regexp.QuoteMeta(n.Series)
	return regexp.MustCompile(`^linux-(binary-` + s + `([.+~-].*)?|image-` + s + `\..*)-` + n.debian() + `$`)
}

// newest returns the package with the newest image of the kernel, and the other packages of that
// image.
func (a apt) newest(ctx context.Context, n Name) ([]pkg, error) {
	names, err := a.cache(ctx, "pkgnames", "linux-")
	if err != nil {
		return nil, err
	}
	pattern := kernelPackages(n)
	images := slices.DeleteFunc(strings.Fields(names), func(name string) bool {
		return !pattern.MatchString(name) || strings.HasSuffix(name, "-rt-"+n.debian()) || strings.HasSuffix(name, "-cloud-"+n.debian())
	})
	best, err := a.latest(ctx, images)
	if err != nil {
		return nil, err
	}
	if best.name == "" {
		return nil, errors.New("no suite of the mirror has such a kernel")
	}
	pkgs := []pkg{best}
	release, ok := strings.CutPrefix(best.name, "linux-binary-")
	if ok {
		pkgs = append(pkgs, pkg{"linux-modules-" + release, best.version})
		config, err := a.latest(ctx, []string{"linux-base-" + release}) // /boot/config
		if err == nil && config.name != "" {
			pkgs = append(pkgs, pkg{config.name, best.version})
		}
	}
	return pkgs, nil
}

// latest returns the package with the highest version among those named, or the zero pkg if none
// exists.
func (a apt) latest(ctx context.Context, names []string) (pkg, error) {
	var best pkg
	if len(names) == 0 {
		return best, nil
	}
	slices.Sort(names)
	out, err := a.cache(ctx, append([]string{"madison"}, names...)...)
	if err != nil {
		return best, err
	}
	for line := range strings.Lines(out) {
		f := strings.Split(line, "|")
		if len(f) < 2 {
			continue
		}
		p := pkg{strings.TrimSpace(f[0]), strings.TrimSpace(f[1])}
		if best.name == "" || later(ctx, p.version, best.version) {
			best = p
		}
	}
	return best, nil
}

func later(ctx context.Context, a, b string) bool {
	return exec.CommandContext(ctx, "dpkg", "--compare-versions", a, "gt", b).Run() == nil
}

func (a apt) cache(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", append(a.options(), args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache %s: %w", args[0], err)
	}
	return string(out), nil
}

// download downloads and verifies the packages in dir and unpacks them into root.
func (a apt) download(ctx context.Context, pkgs []pkg, dir, root string) error {
	args := append(a.options(), "download")
	for _, p := range pkgs {
		args = append(args, p.String())
	}
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("download %v: %w: %s", pkgs, err, bytes.TrimSpace(out))
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, bytes.TrimSpace(out))
		}
	}
	return nil
}
