package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/kernels"
)

// module is a decompressed kernel module.
type module struct {
	name string
	data []byte
}

// rootModules returns the modules that a guest needs to mount a 9p root and to use a virtio serial
// port, in the order of loading. Drivers that are built into the kernel are not among them.
func rootModules(ctx context.Context, k kernels.Kernel) ([]module, error) {
	if k.Tree == "" {
		return nil, nil
	}
	dir := filepath.Join(k.Tree, "lib/modules", k.Release)
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	var modules []module
	for _, path := range loadOrder(string(text), "virtio_pci", "9pnet_virtio", "9p", "virtio_console") {
		m, err := readModule(ctx, filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
	return modules, nil
}

// loadOrder returns the modules want and their dependencies in the order of loading. dep is the
// content of modules.dep: each line has a module, a colon, and its dependencies in reverse order of
// loading.
func loadOrder(dep string, want ...string) []string {
	needs := map[string][]string{}
	for line := range strings.Lines(dep) {
		path, after, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		before := strings.Fields(after)
		slices.Reverse(before)
		needs[moduleName(path)] = append(before, path)
	}
	var order []string
	for _, name := range want {
		for _, path := range needs[name] {
			if !slices.Contains(order, path) {
				order = append(order, path)
			}
		}
	}
	return order
}

func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func readModule(ctx context.Context, path string) (module, error) {
	m := module{name: moduleName(path)}
	var err error
	switch filepath.Ext(path) {
	case ".xz":
		m.data, err = output(ctx, "xz", "-dc", path)
	case ".zst":
		m.data, err = output(ctx, "zstd", "-dcq", path)
	default:
		m.data, err = os.ReadFile(path)
	}
	if err != nil {
		return m, fmt.Errorf("read module %s: %w", m.name, err)
	}
	return m, nil
}

func output(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", argv[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

func configuration(c guest.Config) ([]byte, error) { return json.Marshal(c) }
