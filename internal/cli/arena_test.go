package cli

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
)

// TestArenaScripts runs testdata/arena/*.txtar.
func TestArenaScripts(t *testing.T) {
	skipWithoutArena(t)
	runScripts(t, "testdata/arena")
}

// skipWithoutArena skips the test if the kernel has no arenas. Before, it checks the errors of the
// commands that need one.
func skipWithoutArena(t *testing.T) {
	t.Helper()
	if err := features.HaveMapType(ebpf.Arena); errors.Is(err, ebpf.ErrNotSupported) {
		var stderr bytes.Buffer
		for _, args := range [][]string{
			{"create", "arena", "--size", fmt.Sprint(testenv.PageSize), "--pin", filepath.Join(testenv.BPFFS(t), "a")},
			{"probe", "proctrace", "start", "--processes", "--pin-dir", filepath.Join(testenv.BPFFS(t), "t")},
		} {
			stderr.Reset()
			status := run(t.Context(), args, &stderr, &stderr)
			if status != command.StatusUnable || !strings.Contains(stderr.String(), "Linux 6.9") {
				t.Errorf("%s: status %d: %s", args, status, &stderr)
			}
		}
		testenv.SkipWithout(t, "arena", err)
	}
}
