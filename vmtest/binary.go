package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/session"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// binary runs one test binary as `go test -exec` expects: with its output on stdout and its exit
// status.
func (h *host) binary(ctx context.Context) (int, error) {
	k, err := h.kernel(ctx, h.kernels[0])
	if err != nil {
		return 2, err
	}
	runner, err := h.newRunner(ctx, k.Arch)
	if err != nil {
		return 2, err
	}
	driver, err := h.driver(ctx, k.Arch)
	if err != nil {
		return 2, err
	}
	m, err := h.newMachine(ctx, k)
	if err != nil {
		return 2, err
	}
	path, err := filepath.Abs(h.args[0])
	if err != nil {
		return 2, err
	}
	if err := checkMachine(path, k.Arch); err != nil {
		return 2, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return 2, err
	}
	shares, undo, err := writable(h.args[1:], dir)
	if err != nil {
		return 2, err
	}
	defer undo()
	addShare(&m, moduleRoot(dir), false) // first: others may lie in it
	for _, d := range shares {
		addShare(&m, d, true)
	}
	const name = "binary.test"
	b := guest.Binary{
		Path: filepath.Join(guest.Dir, name), Dir: dir, Args: h.args[1:], Env: h.environment(k),
		Limit: limitOf(h.args[1:], h.limit) + 10*time.Second,
	}
	r, err := session.Exec(ctx, guest.Plan{Binaries: []guest.Binary{b}}, session.Options{
		Runner: runner, Machine: m, Driver: driver, Files: map[string]string{name: path}, Dir: h.dir.path(),
		Output: func(p []byte) { os.Stdout.Write(p) },
	})
	if err != nil {
		return 2, err
	}
	return binaryStatus(r)
}

// binaryStatus returns the exit status of a binary. It returns an error for what an exit status
// cannot express: the machine died, or the binary was killed or not started.
func binaryStatus(r session.Result) (int, error) {
	if r.Died != nil {
		return 1, fmt.Errorf("%s\n%s", r.Died.What, r.Died.Console)
	}
	switch run := r.Runs[0]; {
	case run.Exit.Error != "":
		return 1, fmt.Errorf("run test binary: %s", run.Exit.Error)
	case run.Exit.TimedOut:
		return 1, fmt.Errorf("test binary was killed at its time limit")
	case run.Exit.Signal != "":
		return 1, fmt.Errorf("test binary was killed by signal %s", run.Exit.Signal)
	case run.Exit.Bytes != run.Bytes:
		return 1, fmt.Errorf("output of test binary is truncated: %d of %d bytes arrived", run.Bytes, run.Exit.Bytes)
	default:
		return run.Exit.Code, nil
	}
}

// writable creates the directories in which a test binary with these arguments writes files. undo
// removes those of them that it created and that are empty.
func writable(args []string, dir string) (dirs []string, undo func(), err error) {
	var made []string
	undo = func() {
		for _, d := range slices.Backward(made) {
			os.Remove(d) // fails if the binary has left a file
		}
	}
	dirs = written(args, dir)
	for _, d := range dirs {
		for above := d; ; above = filepath.Dir(above) {
			if _, err := os.Stat(above); err == nil {
				break
			}
			made = append(made, above)
		}
	}
	slices.Sort(made) // parents first
	for _, d := range made {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			undo()
			return nil, nil, err
		}
	}
	return dirs, undo, nil
}

// written returns the directories in which a test binary with these arguments
// writes files.
func written(args []string, dir string) []string {
	var dirs []string
	for _, a := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !ok {
			continue
		}
		if !filepath.IsAbs(value) {
			value = filepath.Join(dir, value)
		}
		switch name {
		case "test.outputdir", "test.gocoverdir":
			dirs = append(dirs, value)
		case "test.fuzz":
			dirs = append(dirs, filepath.Join(dir, "testdata", "fuzz")) // for the input that fails
		case "test.fuzzcachedir":
			dirs = append(dirs, value)
		case "test.testlogfile", "test.coverprofile", "test.cpuprofile", "test.memprofile", "test.blockprofile", "test.mutexprofile", "test.trace":
			dirs = append(dirs, filepath.Dir(value))
		}
	}
	return dirs
}

// endless is the time limit of a binary that runs until the user stops it.
const endless = 365 * 24 * time.Hour

// limitOf returns the -test.timeout of the arguments (otherwise if there is none) plus the time for
// fuzzing, which -test.timeout does not limit (testing.M.Run stops the alarm): -test.fuzztime, by
// default [endless].
func limitOf(args []string, otherwise time.Duration) time.Duration {
	limit, fuzzing := otherwise, time.Duration(0)
	for _, a := range args {
		name, value, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch d, err := time.ParseDuration(value); name {
		case "test.timeout":
			if err == nil && d > 0 {
				limit = d
			}
		case "test.fuzz":
			if fuzzing == 0 {
				fuzzing = endless
			}
		case "test.fuzztime":
			if err == nil && d > 0 {
				fuzzing = d
			}
		}
	}
	return limit + fuzzing
}

// shell runs a shell in a machine, connected to the terminal of vmtest.
func (h *host) shell(ctx context.Context) (int, error) {
	k, err := h.kernel(ctx, h.kernels[0])
	if err != nil {
		return 2, err
	}
	driver, err := h.driver(ctx, k.Arch)
	if err != nil {
		return 2, err
	}
	m, err := h.newMachine(ctx, k)
	if err != nil {
		return 2, err
	}
	m.Terminal = true
	r, err := session.Exec(ctx, guest.Plan{Shell: vm.ShellDevice}, session.Options{
		Runner: vm.Direct{Driver: driver}, Machine: m, Driver: driver, Dir: h.dir.path(),
	})
	if err != nil {
		return 2, err
	}
	if r.Died != nil {
		return 1, fmt.Errorf("%s\n%s", r.Died.What, r.Died.Console)
	}
	return 0, nil
}
