package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rbtool/rbtool/vmtest/kernels"
)

const usage = `vmtest runs Go tests on many kernels, each in a virtual machine.

  vmtest [-kernels LIST] [PACKAGE...]           run tests, print a matrix; default ./...
  vmtest shell -kernel KERNEL                   a shell in a machine
  go test -exec "vmtest -kernel KERNEL --" ...  run one test binary

A KERNEL is a series (6.12), one of arm64 (6.12/arm64; 6.12-16k/arm64 has pages of
16 KiB), the path of an image (with a slash in it), or, with virtme-ng, an upstream
tag (v6.12). Environment: VMTEST_CACHE is the directory of kernels, VMTEST_ACCEL
(kvm, tcg) overrides the trial of KVM, VMTEST_MIRROR and VMTEST_SECURITY_MIRROR
override the mirrors of apt.

`

// command says what vmtest is to do.
type command int

const (
	runMatrix command = iota
	runBinary
	runShell
)

// options has the options and arguments of the command line.
type options struct {
	command  command
	kernels  []string
	archs    []string // as the user gave them, or empty
	runner   string
	cpus     int
	memory   int
	limit    time.Duration
	full     bool
	run      string
	parallel int
	verbose  bool
	refresh  bool
	anySkip  bool
	json     string
	markdown string
	cache    string
	// args has package patterns, or a test binary and its arguments.
	args []string
}

// parse parses the command line. It prints errors and the usage to out.
func parse(args []string, known kernels.List, out io.Writer) (options, error) {
	var o options
	if len(args) > 0 && args[0] == "shell" {
		o.command, args = runShell, args[1:]
	} else if slices.Contains(args, "--") {
		o.command = runBinary
	}
	fs := flag.NewFlagSet("vmtest", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() { fmt.Fprint(out, usage); fs.PrintDefaults() }
	list := fs.String("kernels", strings.Join(known.Of(kernels.Architectures[:1]), ","), "run these kernels, separated by commas")
	one := fs.String("kernel", "", "run one kernel")
	archs := fs.String("arch", kernels.Architectures[0], "run kernels of these architectures, separated by commas ("+strings.Join(kernels.Architectures, ", ")+")")
	fs.StringVar(&o.runner, "runner", "", "virtme-ng (default for the matrix), or direct, which boots faster (default for a binary or a shell)")
	fs.IntVar(&o.cpus, "cpus", 2, "give a machine this many processors")
	fs.IntVar(&o.memory, "memory", 2048, "give a machine this much memory, in MiB")
	fs.DurationVar(&o.limit, "timeout", 5*time.Minute, "stop a test binary after this `duration`")
	fs.BoolVar(&o.full, "full", false, "run tests without -test.short")
	fs.StringVar(&o.run, "run", "", "run only tests that match the `regexp`, as in go test")
	fs.IntVar(&o.parallel, "parallel", runtime.NumCPU(), "run this many machines at a time")
	fs.BoolVar(&o.verbose, "v", false, "show all output at once")
	fs.BoolVar(&o.refresh, "refresh", false, "fetch newer builds of the kernels")
	fs.BoolVar(&o.anySkip, "any-skip", false, "accept skipped tests that name no missing feature")
	fs.StringVar(&o.json, "json", "", "write the report to a `file`, as JSON")
	fs.StringVar(&o.markdown, "markdown", "", "write the matrix to a `file`")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.args = fs.Args()
	o.kernels = strings.Split(*list, ",")
	if *one != "" {
		o.kernels = []string{*one}
	}
	named, given := false, false
	fs.Visit(func(f *flag.Flag) {
		named = named || f.Name == "kernel" || f.Name == "kernels"
		given = given || f.Name == "arch"
	})
	if given {
		o.archs = strings.Split(*archs, ",")
	}
	err := o.selectArch(*archs, named, known)
	if err == nil {
		err = o.complete(*one)
	}
	if err != nil {
		fmt.Fprintf(out, "vmtest: %v\n", err)
	}
	return o, err
}

// selectArch selects kernels by the architectures in list, separated by commas. If the user named
// kernels, a name without an architecture stands for one kernel of each, and others must be of one.
// Otherwise it selects those of the kernels that are known.
func (o *options) selectArch(list string, named bool, known kernels.List) error {
	archs := strings.Split(list, ",")
	for _, arch := range archs {
		if err := kernels.CheckArch(arch); err != nil {
			return err
		}
	}
	if !named {
		o.kernels = known.Of(archs)
		return nil
	}
	var selected []string
	for _, name := range o.kernels {
		n, err := kernels.ParseName(name)
		if err != nil || strings.Contains(name, "/") {
			selected = append(selected, name) // its name or its image says the architecture
			continue
		}
		for _, n.Arch = range archs {
			selected = append(selected, n.String())
		}
	}
	o.kernels = selected
	return nil
}

// complete sets the defaults that depend on the command, and checks the options.
func (o *options) complete(kernel string) error {
	if o.runner == "" {
		o.runner = "direct"
		if o.command == runMatrix {
			o.runner = "virtme-ng"
		}
	}
	switch {
	case o.runner != "direct" && o.runner != "virtme-ng":
		return fmt.Errorf("unknown runner %q (direct or virtme-ng)", o.runner)
	case o.command != runMatrix && kernel == "":
		return errors.New("option -kernel is missing")
	case o.command != runMatrix && len(o.kernels) > 1:
		return errors.New("one machine needs one architecture in -arch")
	case o.command == runBinary && len(o.args) == 0:
		return errors.New("test binary is missing after --")
	case o.command == runShell && o.runner != "direct":
		return errors.New("a shell needs -runner direct")
	case o.cpus < 1 || o.memory < 1 || o.parallel < 1 || o.limit <= 0:
		return errors.New("-cpus, -memory, -parallel and -timeout must be positive")
	}
	if o.command == runMatrix && len(o.args) == 0 {
		o.args = []string{"./..."}
	}
	var err error
	o.cache, err = cacheDir()
	return err
}

// cacheDir returns the directory for kernels and other files that later runs use again.
func cacheDir() (string, error) {
	if dir := os.Getenv("VMTEST_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w (set VMTEST_CACHE)", err)
	}
	return filepath.Join(dir, "rbtool", "vmtest"), nil
}
