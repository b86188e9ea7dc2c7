// Package testenv is what the tests that need a real kernel share: honest
// skips, a scratch directory on bpffs, and a check for leaked descriptors,
// mappings and goroutines.
package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// RequiredFeatures is the environment variable that holds the features, comma
// separated, that this kernel must have: the vmtest kernel list sets it. A
// skip for one of them fails the test.
const RequiredFeatures = "RBTOOL_REQUIRED_FEATURES"

// Main runs a package's tests as the kernel needs it: without a limit on
// locked memory, against which kernels up to 5.10 account maps.
// Call it from TestMain: os.Exit(testenv.Main(m)).
func Main(m *testing.M) int {
	if err := rlimit.RemoveMemlock(); err != nil {
		fmt.Fprintf(os.Stderr, "testenv: %v\n", err)
		return 1
	}
	types := kernelbtf.Cache() // decoded once for all tests
	defer runtime.KeepAlive(types)
	return m.Run()
}

// SkipWithout skips the test because a probe found that feature, a short
// name such as "ringbuf-overwrite", is missing; err is what the probe got.
// Where the kernel list says that the feature must be there the test fails.
func SkipWithout(tb testing.TB, feature string, err error) {
	tb.Helper()
	for required := range strings.SplitSeq(os.Getenv(RequiredFeatures), ",") {
		if required == feature {
			tb.Fatalf("missing required feature %s: %v", feature, err)
		}
	}
	tb.Skipf("missing feature %s: %v", feature, err)
}

// SkipIfNotSupported calls SkipWithout where err says that the kernel does not
// know what was asked of it. Any other error is left to the caller.
func SkipIfNotSupported(tb testing.TB, feature string, err error) {
	tb.Helper()
	if errors.Is(err, ebpf.ErrNotSupported) {
		SkipWithout(tb, feature, err)
	}
}

// BPFFS returns a directory of the test's own on a bpffs, removed with all
// that is in it when the test ends. It mounts one on /sys/fs/bpf where there
// is none yet.
func BPFFS(tb testing.TB) string {
	tb.Helper()
	const root = "/sys/fs/bpf"
	if !onBPFFS(root) {
		if err := unix.Mount("bpf", root, "bpf", 0, ""); err != nil {
			tb.Fatalf("mount bpffs on %s: %v", root, err)
		}
	}
	// bpffs refuses names with a dot, and MkdirTemp's are digits only.
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

// Map creates a map, closed when the test ends. It skips where the kernel
// does not have the type.
func Map(tb testing.TB, spec *ebpf.MapSpec) *ebpf.Map {
	tb.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		// Of a type that it does not know the kernel says no more than EINVAL.
		SkipIfNotSupported(tb, mapFeature(spec.Type), features.HaveMapType(spec.Type))
		tb.Fatalf("create %s: %v", spec.Type, err)
	}
	tb.Cleanup(func() { m.Close() })
	return m
}

// mapFeature is what the kernel list calls a type of map.
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
