// Package testenv helps tests that need a real kernel: skips that name the missing feature,
// maps and pins that go with the test, and a check for leaked descriptors, mappings and
// goroutines.
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

// RequiredFeatures is an environment variable with the features that this kernel must have,
// separated by commas. vmtest sets it from its list of kernels. A skip for one of them fails
// the test.
const RequiredFeatures = "RBTOOL_REQUIRED_FEATURES"

// Main runs a package's tests without a limit on locked memory, against which kernels up to
// 5.10 account maps. Call it from TestMain: os.Exit(testenv.Main(m)).
//
// Examples cannot skip. Main leaves them out if the kernel lacks one of the features that they
// need, unless it must have it.
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
	types := kernelbtf.Cache() // decoded once for all tests
	defer runtime.KeepAlive(types)
	return m.Run()
}

// required reports whether this kernel must have a feature.
func required(feature string) bool {
	return slices.Contains(strings.Split(os.Getenv(RequiredFeatures), ","), feature)
}

// missing reports whether this kernel lacks a feature of package feature, and may lack it.
func missing(name string) bool {
	f, ok := feature.Find(name)
	if !ok {
		panic("testenv: no feature " + name)
	}
	return !required(name) && f.Have() != nil
}

// SkipWithout skips the test because of err: a trial found that the kernel lacks the feature
// with a name, such as "ringbuf-overwrite". If this kernel must have the feature, the test
// fails.
func SkipWithout(tb testing.TB, feature string, err error) {
	tb.Helper()
	if required(feature) {
		tb.Fatalf("missing required feature %s: %v", feature, err)
	}
	tb.Skipf("missing feature %s: %v", feature, err)
}

// SkipIfNotSupported calls SkipWithout if err matches [ebpf.ErrNotSupported], and returns
// otherwise.
func SkipIfNotSupported(tb testing.TB, feature string, err error) {
	tb.Helper()
	if errors.Is(err, ebpf.ErrNotSupported) {
		SkipWithout(tb, feature, err)
	}
}

// BPFFS creates a directory on a bpffs and removes it, with everything in it, when the test
// ends. It mounts a bpffs on /sys/fs/bpf if there is none.
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

// Ring creates a RINGBUF map of size bytes, closed when the test ends.
func Ring(tb testing.TB, size uint32) *ebpf.Map {
	tb.Helper()
	return Map(tb, &ebpf.MapSpec{Name: "test_ring", Type: ebpf.RingBuf, MaxEntries: size})
}

// Map creates a map, closed when the test ends. It skips the test if the kernel does not have
// the type.
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

// mapFeature returns the name of the feature for a type of map.
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
