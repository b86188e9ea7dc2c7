package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rbtool/rbtool/vmtest/kernels"
	"github.com/rbtool/rbtool/vmtest/session"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// host is the state that all commands share.
type host struct {
	options
	known  kernels.List
	store  kernels.Store
	driver string
	// grace and bootLimit are those of session.Options.
	grace, bootLimit time.Duration
	dir              runDir
}

func newHost(o options, known kernels.List) (*host, error) {
	h := &host{options: o, known: known}
	h.store = kernels.Store{Dir: o.cache, List: known, Refresh: o.refresh, Log: h.log}
	var err error
	if h.driver, err = os.Executable(); err != nil {
		return nil, err
	}
	if err := checkStatic(h.driver); err != nil {
		return nil, err
	}
	h.dir, err = newRunDir(o.cache)
	return h, err
}

func (h *host) close() { h.dir.remove() }

func (h *host) log(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "vmtest: "+format+"\n", args...)
}

func (h *host) do(ctx context.Context) (int, error) {
	switch h.command {
	case runShell:
		return h.shell(ctx)
	case runBinary:
		return h.binary(ctx)
	}
	return h.matrix(ctx)
}

// checkStatic refuses a program that would not start in the initramfs.
func checkStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("this program is linked dynamically, build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// newRunner returns the runner of the command line.
func (h *host) newRunner(ctx context.Context) (vm.Runner, error) {
	if h.runner == "direct" {
		return vm.Direct{Driver: h.driver}, nil
	}
	dir, err := h.store.VirtmeNG(ctx)
	if err != nil {
		return nil, err
	}
	return vm.VirtmeNG{Dir: dir, Home: filepath.Join(h.cache, "virtme-ng")}, nil
}

// newMachine returns the machine for a kernel, with an accelerator that works.
func (h *host) newMachine(ctx context.Context, k kernels.Kernel) (vm.Machine, error) {
	m := vm.Machine{Kernel: k, CPUs: h.cpus, MemoryMiB: h.memory, Accel: vm.TCG}
	if k.Tree != "" {
		addShare(&m, k.Tree, false)
	}
	if k.Image == "" {
		return m, nil // nothing here yet to try KVM with
	}
	accel, why, err := session.Accel(ctx, m, h.driver, h.cache)
	if err != nil {
		return m, err
	}
	if h.verbose {
		h.log("%s: %s (%s)", k.Name, accel, why)
	}
	m.Accel = accel
	return m, nil
}

// environment returns the variables of every test on kernel k, apart from those that the guest
// sets: the caller's, and the features that the kernel must have.
func (h *host) environment(k kernels.Kernel) []string {
	env := passedOn(os.Environ())
	if required := h.known.Required(k.Series); len(required) > 0 {
		env = append(env, h.known.Env+"="+strings.Join(required, ","))
	}
	return env
}

// hostOnly has variables that name paths, devices and processes of the host. A name that ends in
// "_" stands for all names that begin with it.
var hostOnly = []string{
	"PATH", "HOME", "TMPDIR", "TMP", "TEMP", "PWD", "OLDPWD", "SHELL", "SHLVL", "_",
	"USER", "LOGNAME", "MAIL", "HOSTNAME", "TERM", "LANG", "LANGUAGE", "LC_", "LD_", "XDG_",
	"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_", "SSH_", "SUDO_", "TMUX", "TMUX_", "STY",
	"GOBIN", "GOCACHE", "GOCOVERDIR", "GOENV", "GOMODCACHE", "GOPATH", "GOTMPDIR",
	"MODPROBE_OPTIONS", "VMTEST_",
}

// passedOn returns the variables of env that a guest gets.
func passedOn(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(hostOnly, func(own string) bool {
			return name == own || len(own) > 1 && strings.HasSuffix(own, "_") && strings.HasPrefix(name, own)
		})
	})
}

// hidden has directories on which a guest mounts a file system.
var hidden = []string{"/tmp", "/run", "/dev", "/media", "/var/tmp", "/var/cache", "/var/log"}

// moduleRoot returns the directory above dir that has the go.mod, whose files tests may read, or
// dir if there is none.
func moduleRoot(dir string) string {
	for above := dir; ; above = filepath.Dir(above) {
		if _, err := os.Stat(filepath.Join(above, "go.mod")); err == nil {
			return above
		}
		if above == filepath.Dir(above) {
			return dir
		}
	}
}

// addShare adds a host directory to the machine, at the same path.
func addShare(m *vm.Machine, dir string, writable bool) {
	covered := slices.ContainsFunc(hidden, func(h string) bool { return dir == h || strings.HasPrefix(dir, h+"/") })
	known := slices.ContainsFunc(m.Shares, func(s vm.Share) bool {
		return (s.Path == dir || strings.HasPrefix(dir, s.Path+"/")) && (s.Writable || !writable)
	})
	if (covered || writable) && !known {
		m.Shares = append(m.Shares, vm.Share{Path: filepath.Clean(dir), Writable: writable})
	}
}
