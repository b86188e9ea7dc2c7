package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
)

// drivers has the programs vmtest for other architectures, which are compiled when they are needed.
type drivers struct {
	mu   sync.Mutex
	path map[string]string
}

// driver returns the path of vmtest for guests of an architecture.
func (h *host) driver(ctx context.Context, arch string) (string, error) {
	if arch == runtime.GOARCH {
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
		return "", fmt.Errorf("build vmtest for %s: the sources are not known: build vmtest without -trimpath", arch)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build vmtest for %s: %w: %s", arch, err, out)
	}
	h.drivers.path = map[string]string{arch: path}
	return path, nil
}
