package testenv

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/proc"
)

// NoLeaks fails the test if, after all cleanups registered later, the process has a descriptor, a
// mapping of a BPF map or a goroutine that it did not have when NoLeaks was called. Call NoLeaks
// first, and not in parallel tests.
func NoLeaks(tb testing.TB) {
	tb.Helper()
	startPoller(tb)
	fds, maps, routines := descriptors(tb), mappings(tb), runtime.NumGoroutine()
	tb.Cleanup(func() {
		if tb.Failed() {
			return // a failed test may leak
		}
		leaked := func() string {
			if n := runtime.NumGoroutine(); n > routines {
				buf := make([]byte, 1<<16)
				return fmt.Sprintf("goroutines: %d before, %d now\n%s", routines, n, buf[:runtime.Stack(buf, true)])
			}
			if left := added(descriptors(tb), fds); len(left) > 0 {
				return "descriptors: " + strings.Join(left, ", ")
			}
			if left := added(mappings(tb), maps); len(left) > 0 {
				return "mappings:\n" + strings.Join(left, "\n")
			}
			return ""
		}
		// Goroutines that were told to end and finalizers that close descriptors take a moment:
		// poll for a bounded time.
		deadline := time.Now().Add(20 * time.Second)
		for what := leaked(); what != ""; what = leaked() {
			if time.Now().After(deadline) {
				tb.Errorf("leaked %s", what)
				return
			}
			runtime.Gosched()
		}
	})
}

// startPoller makes the runtime open its epoll and event descriptors. The runtime never closes
// them, so they must be open before the first comparison.
func startPoller(tb testing.TB) {
	tb.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	r.Close()
	w.Close()
}

func descriptors(tb testing.TB) []string {
	tb.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	var fds []string
	for _, e := range dir {
		// The descriptor that this ReadDir used is already closed.
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			fds = append(fds, fmt.Sprintf("%s -> %s", e.Name(), target))
		}
	}
	return fds
}

// mappings lists the mappings of BPF maps.
func mappings(tb testing.TB) []string {
	tb.Helper()
	var maps []string
	for m, err := range proc.Mappings("/proc/self") {
		if err != nil {
			tb.Fatal(err)
		}
		if strings.Contains(string(m.Path), "bpf-map") {
			maps = append(maps, string(m.Line))
		}
	}
	return maps
}

func added(now, before []string) []string {
	return slices.DeleteFunc(now, func(s string) bool { return slices.Contains(before, s) })
}
