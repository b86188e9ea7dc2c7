package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/rbtool/rbtool/vmtest/report"
)

// suite is the tests of one package, compiled.
type suite struct {
	path, dir string
	// binary is the path of the test binary, empty if the package has no tests or they do not
	// build.
	binary string
	// failure is the output of the compiler if the build failed.
	failure string
}

// crossEnvironment returns the environment in which the go command builds for an architecture.
func crossEnvironment(arch string) []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
}

// build compiles the tests of each package into a static binary, which all kernels of the
// architecture run.
func (h *host) build(ctx context.Context, arch string) ([]suite, error) {
	suites, err := list(ctx, arch, h.args)
	if err != nil {
		return nil, err
	}
	slots := make(chan struct{}, runtime.NumCPU())
	var all sync.WaitGroup
	for i := range suites {
		if suites[i].binary == "" {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			suites[i].compile(ctx, arch, filepath.Join(h.dir.path(), fmt.Sprintf("%d.%s.test", i, arch)))
		})
	}
	all.Wait()
	return suites, ctx.Err()
}

func (s *suite) compile(ctx context.Context, arch, binary string) {
	// -w omits DWARF, a quarter of the file: nothing in a guest reads it. Vetting takes longer than to
	// compile what has changed, and is the same on all kernels.
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-w", "-o", binary, s.path)
	cmd.Env = crossEnvironment(arch)
	s.binary = binary
	if out, err := cmd.CombinedOutput(); err != nil {
		s.binary, s.failure = "", fmt.Sprintf("%s%v", out, err)
	}
}

// list lists the packages that match patterns. It sets binary for those with tests.
func list(ctx context.Context, arch string, patterns []string) ([]suite, error) {
	args := append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles", "--"}, patterns...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = crossEnvironment(arch)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var suites []suite
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("list packages: %w", err)
		}
		s := suite{path: p.ImportPath, dir: p.Dir}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			s.binary = "to be compiled"
		}
		suites = append(suites, s)
	}
	if len(suites) == 0 {
		return nil, errors.New("list packages: no package matches")
	}
	return suites, nil
}

// results parses the output of a test binary by go tool test2json.
func results(ctx context.Context, pkg string, output []byte) ([]report.Test, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", pkg)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(output), os.Stderr
	events, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("parse output of %s: go tool test2json: %w", pkg, err)
	}
	return report.Tests(bytes.NewReader(events))
}
