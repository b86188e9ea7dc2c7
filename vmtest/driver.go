package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
)

// drivers has the programs vmtest for guests that cannot run this program, which are compiled when
// they are needed.
type drivers struct {
	mu   sync.Mutex
	path map[string]string
}

// driver returns the path of vmtest for guests of an architecture. It is this program if that is of
// the architecture and linked statically: the initramfs has no libraries.
func (h *host) driver(ctx context.Context, arch string) (string, error) {
	if arch == runtime.GOARCH && h.static {
		return h.self, nil
	}
	h.drivers.mu.Lock()
	defer h.drivers.mu.Unlock()
	if path := h.drivers.path[arch]; path != "" {
		return path, nil
	}
	_, source, _, _ := runtime.Caller(0)
	path := filepath.Join(h.dir.path(), "vmtest-"+arch)
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-w", "-o", path, ".")
	cmd.Dir, cmd.Env = filepath.Dir(source), crossEnvironment(arch)
	if !filepath.IsAbs(source) {
		return "", fmt.Errorf("build vmtest for %s: the sources are not known: build vmtest without -trimpath, or with CGO_ENABLED=0 for %s", arch, runtime.GOARCH)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build vmtest for %s: %w: %s", arch, err, out)
	}
	h.drivers.path = map[string]string{arch: path}
	return path, nil
}
