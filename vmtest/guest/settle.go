package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one call of mount(2).
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

// settle makes the guest what tests may expect, whoever started it: bpffs,
// cgroup2 and tracefs mounted, no limit on locked memory (kernels up to 5.10
// account maps against it), the loopback interface up.
func settle() error {
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
	return loopback()
}

// mounted says that path is the root of a mount.
func mounted(path string) bool {
	var here, above unix.Stat_t
	return unix.Stat(path, &here) == nil && unix.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

// bindModules lets modprobe find the modules of the running kernel.
func bindModules(tree string) error {
	for _, own := range []string{"/usr/lib/modules", "/lib/modules"} {
		if st, err := os.Stat(own); err == nil && st.IsDir() {
			return mount{source: filepath.Join(tree, "lib/modules"), target: own, fs: "none", flags: unix.MS_BIND}.do()
		}
	}
	return nil // a userland without modules has no modprobe either
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
