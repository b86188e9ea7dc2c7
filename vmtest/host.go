package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rbtool/rbtool/vmtest/kernels"
	"github.com/rbtool/rbtool/vmtest/session"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// host is the state that all commands of vmtest share.
type host struct {
	options
	known kernels.List
	store kernels.Store
	// self is the path of this program. static tells whether it is linked statically.
	self    string
	static  bool
	drivers drivers
	// grace and bootLimit are Grace and Boot of session.Options.
	grace, bootLimit time.Duration
	dir              runDir
}

func newHost(o options, known kernels.List) (*host, error) {
	h := &host{options: o, known: known}
	h.store = kernels.Store{Dir: o.cache, List: known, Refresh: o.refresh, Log: h.log}
	var err error
	if h.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if h.static, err = isStatic(h.self); err != nil {
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

// machines has the ELF machine of each architecture that guests can have.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkMachine returns an error if the program at path is an ELF file of another architecture. Other
// files, such as scripts, pass.
func checkMachine(path, arch string) error {
	f, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if f.Machine != machines[arch] {
		return fmt.Errorf("%s is of machine %v, and the kernel of %s: build it with GOARCH=%s", filepath.Base(path), f.Machine, arch, arch)
	}
	return nil
}

// isStatic reports whether the program at path is linked statically.
func isStatic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), nil
}

// kernel returns the kernel with a name of the command line.
func (h *host) kernel(ctx context.Context, name string) (kernels.Kernel, error) {
	k, err := h.store.Named(ctx, name)
	if err == nil && len(h.archs) > 0 && !slices.Contains(h.archs, k.Arch) {
		err = fmt.Errorf("kernel %s is of %s, not %s", name, k.Arch, strings.Join(h.archs, " or "))
	}
	return k, err
}

// newRunner returns the runner that the option -runner names. For an architecture that is not the
// host's that is always the direct runner: virtme-ng boots the host's root.
func (h *host) newRunner(ctx context.Context, arch string) (vm.Runner, error) {
	if h.runner == "direct" || arch != runtime.GOARCH {
		driver, err := h.driver(ctx, arch)
		return vm.Direct{Driver: driver}, err
	}
	dir, err := h.store.VirtmeNG(ctx)
	if err != nil {
		return nil, err
	}
	return vm.VirtmeNG{Dir: dir, Home: filepath.Join(h.cache, "virtme-ng")}, nil
}

// newMachine returns a machine for kernel k with an accelerator that works on this host.
func (h *host) newMachine(ctx context.Context, k kernels.Kernel) (vm.Machine, error) {
	m := vm.Machine{Kernel: k, CPUs: h.cpus, MemoryMiB: h.memory, Accel: vm.TCG}
	if k.Arch != runtime.GOARCH {
		var err error
		if m.Root, err = h.store.Userland(ctx, k.Arch); err != nil {
			return m, err
		}
	}
	if k.Tree != "" {
		addShare(&m, k.Tree, false)
	}
	if k.Image == "" {
		return m, nil // nothing here yet to try KVM with
	}
	driver, err := h.driver(ctx, k.Arch)
	if err != nil {
		return m, err
	}
	accel, why, err := session.Accel(ctx, m, driver, h.cache)
	if err != nil {
		return m, err
	}
	if h.verbose {
		h.log("%s: %s (%s)", k.Name, accel, why)
	}
	m.Accel = accel
	return m, nil
}

// environment returns the environment of the tests on kernel k: variables of this process, and one
// with the features that the kernel must have. The guest adds its own.
func (h *host) environment(k kernels.Kernel) []string {
	env := passedOn(os.Environ())
	if required := h.known.Required(k.Listed); len(required) > 0 {
		env = append(env, h.known.Env+"="+strings.Join(required, ","))
	}
	return env
}

// hostOnly has variables that name paths, devices and processes of the host, which guests do not
// get. A name that ends in "_" stands for all names that begin with it.
var hostOnly = []string{
	"PATH", "HOME", "TMPDIR", "TMP", "TEMP", "PWD", "OLDPWD", "SHELL", "SHLVL", "_",
	"USER", "LOGNAME", "MAIL", "HOSTNAME", "TERM", "LANG", "LANGUAGE", "LC_", "LD_", "XDG_",
	"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_", "SSH_", "SUDO_", "TMUX", "TMUX_", "STY",
	"GOBIN", "GOCACHE", "GOCOVERDIR", "GOENV", "GOMODCACHE", "GOPATH", "GOTMPDIR",
	"MODPROBE_OPTIONS", "VMTEST_",
}

// passedOn returns the variables of env that a guest gets: all except [hostOnly].
func passedOn(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(hostOnly, func(own string) bool {
			return name == own || len(own) > 1 && strings.HasSuffix(own, "_") && strings.HasPrefix(name, own)
		})
	})
}

// hidden has directories of the host that a guest does not see, because it mounts a file system of
// its own on each.
var hidden = []string{"/tmp", "/run", "/dev", "/media", "/var/tmp", "/var/cache", "/var/log"}

// moduleRoot returns the root of the module that contains dir (the directory of its go.mod), since
// tests may read files of the whole module. Without a go.mod it returns dir.
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

// addShare makes a host directory visible in the machine at the same path, unless it is visible
// already.
func addShare(m *vm.Machine, dir string, writable bool) {
	covered := m.Root != "" || slices.ContainsFunc(hidden, func(h string) bool { return dir == h || strings.HasPrefix(dir, h+"/") })
	known := slices.ContainsFunc(m.Shares, func(s vm.Share) bool {
		return (s.Path == dir || strings.HasPrefix(dir, s.Path+"/")) && (s.Writable || !writable)
	})
	if (covered || writable) && !known {
		m.Shares = append(m.Shares, vm.Share{Path: filepath.Clean(dir), Writable: writable})
	}
}
