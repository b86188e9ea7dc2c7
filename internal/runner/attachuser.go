package runner

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"

	"github.com/rbtool/rbtool/internal/near"
)

func attachUprobe(_ *Object, p *Program, t Targets) ([]io.Closer, error) {
	file, function, ok := strings.Cut(p.section.target, ":")
	if !ok || file == "" {
		return nil, fmt.Errorf("%w: name a function: --at %s=%s/FILE:FUNCTION", ErrUnsaid, p.Name, p.section.hook)
	}
	path, err := findBinary(file)
	if err != nil {
		return nil, err
	}
	e, err := link.OpenExecutable(path)
	if err != nil {
		return nil, err
	}
	returns := strings.HasPrefix(p.section.hook, "uret")
	if strings.HasSuffix(p.section.hook, ".multi") {
		return attachUprobes(e, path, function, returns, p, t)
	}
	symbol, offset, err := splitOffset(function)
	if err != nil {
		return nil, err
	}
	attach := e.Uprobe
	if returns {
		attach = e.Uretprobe
	}
	l, err := attach(symbol, p.Program, &link.UprobeOptions{Offset: offset, PID: t.PID})
	if errors.Is(err, link.ErrNoSymbol) {
		return nil, noSymbol(path, symbol)
	}
	return one(l, err)
}

func attachUprobes(e *link.Executable, path, pattern string, returns bool, p *Program, t Targets) ([]io.Closer, error) {
	known := symbolsOf(path)
	symbols := matching(pattern, known)
	if len(symbols) == 0 {
		return nil, noSymbol(path, pattern)
	}
	attach := e.UprobeMulti
	if returns {
		attach = e.UretprobeMulti
	}
	return one(attach(symbols, p.Program, &link.UprobeMultiOptions{PID: uint32(t.PID)}))
}

// findBinary finds a file as libbpf does: a path, a library by its name, or a command on the PATH.
func findBinary(file string) (string, error) {
	if strings.Contains(file, "/") {
		if _, err := os.Stat(file); err != nil {
			return "", err
		}
		return file, nil
	}
	if strings.HasSuffix(file, ".so") || strings.Contains(file, ".so.") {
		for _, pattern := range []string{"/lib/*/", "/usr/lib/*/", "/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/", "/usr/local/lib/"} {
			if found, _ := filepath.Glob(pattern + file); len(found) > 0 {
				return found[0], nil
			}
		}
		return "", fmt.Errorf("library %s: %w", file, fs.ErrNotExist)
	}
	path, err := exec.LookPath(file)
	if err != nil {
		return "", fmt.Errorf("command %s: %w", file, fs.ErrNotExist)
	}
	return path, nil
}

func noSymbol(path, symbol string) error {
	return fmt.Errorf("%s has no function %s: %w%s", path, symbol, fs.ErrNotExist, near.Hint(symbol, symbolsOf(path)))
}

// symbolsOf returns the functions that a file names.
func symbolsOf(path string) (names []string) {
	f, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for _, read := range []func() ([]elf.Symbol, error){f.Symbols, f.DynamicSymbols} {
		symbols, err := read()
		if err != nil {
			continue
		}
		for _, s := range symbols {
			if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF {
				names = append(names, s.Name)
			}
		}
	}
	return names
}
