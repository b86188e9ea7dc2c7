package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount has the arguments of one call of mount(2).
type mount struct {
	source, target, fs string
	flags              uintptr
	data               string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("mount on %s: %w", m.target, err)
	}
	if err := unix.Mount(m.source, m.target, m.fs, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.fs, m.target, err)
	}
	return nil
}

// settle sets up what tests expect of a system, for every runner: it mounts bpffs, cgroup2 and
// tracefs, lifts the limit on locked memory (to which kernels up to 5.10 charge maps), brings up
// the loopback interface, and tells the kernel where its modules are.
func settle(modules string) error {
	for _, m := range []mount{
		{"bpf", "/sys/fs/bpf", "bpf", 0, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""},
		{"tracefs", "/sys/kernel/tracing", "tracefs", 0, ""},
		{"debugfs", "/sys/kernel/debug", "debugfs", 0, ""},
	} {
		if mounted(m.target) {
			continue
		}
		if err := m.do(); err != nil {
			return err
		}
	}
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil {
		return fmt.Errorf("lift limit on locked memory: %w", err)
	}
	return errors.Join(findModules(modules), loopback())
}

// mounted reports whether path is the root of a mount.
func mounted(path string) bool {
	var here, above unix.Stat_t
	return unix.Stat(path, &here) == nil && unix.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

// modprobe is the program that the guest's kernel calls for a module.
const modprobe = "/run/vmtest-modprobe"

// findModules makes the kernel load modules from tree. It does not mount tree on /lib/modules,
// since the host may not have that directory.
func findModules(tree string) error {
	if tree == "" {
		return nil
	}
	script := fmt.Sprintf("#!/bin/sh\nexec modprobe -d '%s' \"$@\"\n", tree)
	if err := os.WriteFile(modprobe, []byte(script), 0o755); err != nil {
		return fmt.Errorf("set up modprobe: %w", err)
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte(modprobe), 0); err != nil {
		return fmt.Errorf("set up modprobe: %w", err)
	}
	return nil
}

// moduleOptions returns the environment variables that make modprobe use tree.
func moduleOptions(tree string) []string {
	if tree == "" {
		return nil
	}
	return []string{"MODPROBE_OPTIONS=-d " + tree}
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}
