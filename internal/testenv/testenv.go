// Package testenv helps tests that need a real kernel. It skips tests and names the missing
// feature, creates maps and pins that are removed when the test ends, and checks for leaked
// descriptors, mappings and goroutines.
package testenv

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// RequiredFeatures is an environment variable that lists the features that this kernel must have,
// separated by commas. vmtest sets it from its list of kernels. A skip because of such a feature
// fails the test.
const RequiredFeatures = "RBTOOL_REQUIRED_FEATURES"

// Main runs the tests of a package without a limit on locked memory; kernels up to 5.10 count maps
// against that limit. Call it from TestMain: os.Exit(testenv.Main(m)).
//
// Examples cannot skip. forExamples are the features that the examples of the package need. If the
// kernel lacks one of them, Main leaves the examples out, unless the kernel must have that feature.
func Main(m *testing.M, forExamples ...string) int {
	if err := rlimit.RemoveMemlock(); err != nil {
		fmt.Fprintf(os.Stderr, "testenv: %v\n", err)
		return 1
	}
	if slices.ContainsFunc(forExamples, missing) {
		flag.Parse()
		skip := "^Example"
		if given := flag.Lookup("test.skip").Value.String(); given != "" {
			skip = given + "|" + skip
		}
		if err := flag.Set("test.skip", skip); err != nil {
			panic(err)
		}
	}
	types := kernelbtf.Cache() // decode the types of the kernel once for all tests
	defer runtime.KeepAlive(types)
	return m.Run()
}

// InGuest reports that the test runs in an emulated machine, 20 times as slow as the host: with -short, and without the race
// detector. Tests do less there, and leave out what asks the kernel nothing; the host's runs do it all.
func InGuest() bool { return testing.Short() && !Race }

// required reports whether this kernel must have the feature.
func required(feature string) bool {
	return slices.Contains(strings.Split(os.Getenv(RequiredFeatures), ","), feature)
}

// missing reports whether this kernel lacks the feature with this name in package feature, and need
// not have it.
func missing(name string) bool {
	f, ok := feature.Find(name)
	if !ok {
		panic("testenv: no feature " + name)
	}
	return !required(name) && f.Have() != nil
}

// SkipWithout skips the test because the kernel lacks the named feature, such as
// "ringbuf-overwrite"; err shows that. If this kernel must have the feature, SkipWithout fails the
// test.
func SkipWithout(tb testing.TB, feature string, err error) {
	tb.Helper()
	if required(feature) {
		tb.Fatalf("missing required feature %s: %v", feature, err)
	}
	// In one line, which vmtest reads: joined errors have several.
	tb.Skipf("missing feature %s: %s", feature, strings.ReplaceAll(fmt.Sprint(err), "\n", "; "))
}

// SkipIfNotSupported calls SkipWithout if err matches [ebpf.ErrNotSupported], and returns
// otherwise.
func SkipIfNotSupported(tb testing.TB, feature string, err error) {
	tb.Helper()
	if errors.Is(err, ebpf.ErrNotSupported) {
		SkipWithout(tb, feature, err)
	}
}

// BPFFS creates a directory on a bpffs. When the test ends, the directory is removed with
// everything in it. BPFFS mounts a bpffs on /sys/fs/bpf if none is mounted.
func BPFFS(tb testing.TB) string {
	tb.Helper()
	const root = "/sys/fs/bpf"
	if !onBPFFS(root) {
		if err := unix.Mount("bpf", root, "bpf", 0, ""); err != nil {
			tb.Fatalf("mount bpffs on %s: %v", root, err)
		}
	}
	// bpffs refuses names with a dot; MkdirTemp appends only digits.
	dir, err := os.MkdirTemp(root, "rbtool-test-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove scratch directory: %v", err)
		}
	})
	return dir
}

func onBPFFS(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.BPF_FS_MAGIC
}

// PageSize is the kernel's page size in bytes: the smallest size of a ring.
var PageSize = uint32(os.Getpagesize())

// Ring creates a RINGBUF map of size bytes, closed when the test ends.
func Ring(tb testing.TB, size uint32) *ebpf.Map {
	tb.Helper()
	return Map(tb, &ebpf.MapSpec{Name: "test_ring", Type: ebpf.RingBuf, MaxEntries: size})
}

// Map creates a map, closed when the test ends. It skips the test if the kernel does not have that
// type of map.
func Map(tb testing.TB, spec *ebpf.MapSpec) *ebpf.Map {
	tb.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		// For an unknown type the kernel returns EINVAL.
		SkipIfNotSupported(tb, mapFeature(spec.Type), features.HaveMapType(spec.Type))
		tb.Fatalf("create %s: %v", spec.Type, err)
	}
	tb.Cleanup(func() { m.Close() })
	return m
}

// mapFeature returns the name of the feature that a type of map is.
func mapFeature(t ebpf.MapType) string {
	if t == ebpf.UserRingbuf {
		return "user_ringbuf"
	}
	return strings.ToLower(t.String())
}

// PinPath returns a path for name in a scratch directory on bpffs.
func PinPath(tb testing.TB, name string) string {
	tb.Helper()
	return filepath.Join(BPFFS(tb), name)
}
