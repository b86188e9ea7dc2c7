package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Files in the directory of the first process's program.
const (
	// ConfigFile has the [Config] as JSON.
	ConfigFile = "init.json"
	// ModuleDir, if it exists, has the kernel modules that are needed to mount the root,
	// decompressed. The order of their names is the order of loading.
	ModuleDir = "modules"
)

// Config tells the first process how to reach the host's root.
type Config struct {
	// Root is the 9p tag of the host's root, mounted read-only.
	Root string
	// Userland means that Root is another directory, with programs of the guest's architecture. The
	// guest's root then is a memory file system, with mount points for all shares, on which the
	// directories of Root are mounted.
	Userland bool
	// Shares are further host directories to mount.
	Shares []Share
	// Driver is the path of the driver in the mounted root.
	Driver string
}

// Share is a host directory in the guest.
type Share struct {
	// Tag is its 9p tag, Path its mount point.
	Tag, Path string
	Writable  bool
}

// Init is the first process of a machine: it mounts the host's root as the guest's root, runs the
// driver, and powers the machine off. It returns only if that fails.
func Init() error {
	var config Config
	dir := filepath.Dir(os.Args[0])
	text, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := loadModules(filepath.Join(dir, ModuleDir)); err != nil {
		return err
	}
	if err := enterRoot(config); err != nil {
		return err
	}
	code, err := runAndReap(config.Driver, Command)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("run driver: exit status %d", code)
	}
	if err := succeed(); err != nil {
		return err
	}
	return PowerOff()
}

// succeed reports exit status 0 to virtme-ng, which waits for it at a serial port. Without that
// port it does nothing.
func succeed() error {
	port, err := findPort("virtme.ret")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.WriteFile(port, []byte("0\n"), 0)
	}
	if err != nil {
		return fmt.Errorf("report exit status: %w", err)
	}
	return nil
}

// PowerOff powers the machine off. It returns only if that fails.
func PowerOff() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func loadModules(dir string) error {
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("load module %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// nineOptions returns the options of a 9p mount. The maximum size of a request is large, except on
// kernels before 6.0: they clear a buffer of that size for each request, and 256 KiB take an
// emulated processor 1 ms.
func nineOptions() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	major, _, _ := strings.Cut(release, ".")
	version, err := strconv.Atoi(major)
	if err != nil {
		return "", fmt.Errorf("kernel release %q: %w", release, err)
	}
	most := 256 << 10
	if version < 6 {
		most = 32 << 10
	}
	return fmt.Sprintf("trans=virtio,version=9p2000.L,msize=%d", most), nil
}

// enterRoot mounts the host's root, mounts the file systems that a running system needs in it, and
// makes it the root directory.
func enterRoot(config Config) error {
	// Under virtme-ng the current root is the host's too, mounted read-only and without a cache by
	// virtme-ng's initramfs. So the mount point is in a memory file system.
	const root = "/run/newroot"
	nine, err := nineOptions()
	if err != nil {
		return err
	}
	if err := (mount{"tmpfs", filepath.Dir(root), "tmpfs", 0, "mode=755"}).do(); err != nil {
		return err
	}
	// The guest may cache: the host's files do not change while tests run.
	host := mount{config.Root, root, "9p", unix.MS_RDONLY, nine + ",cache=loose"}
	if config.Userland {
		err = composeRoot(host)
	} else {
		err = host.do()
	}
	if err == nil {
		err = furnish(root, config.Shares, nine)
	}
	if err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if config.Userland { // it needs no more mount points
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make root read-only: %w", err)
		}
	}
	return os.Chdir("/")
}

// furnish mounts in root the file systems that a running system needs, and the shares with the 9p
// options nine.
func furnish(root string, shares []Share, nine string) error {
	mounts := []mount{
		{"proc", root + "/proc", "proc", 0, ""},
		{"sysfs", root + "/sys", "sysfs", 0, ""},
		{"devtmpfs", root + "/dev", "devtmpfs", 0, ""},
		{"devpts", root + "/dev/pts", "devpts", 0, "mode=620,gid=5,ptmxmode=666"},
		{"tmpfs", root + "/dev/shm", "tmpfs", 0, "mode=1777"},
		{"tmpfs", root + "/run", "tmpfs", 0, "mode=755"},
		{"tmpfs", root + "/tmp", "tmpfs", 0, "mode=1777"},
		{"tmpfs", root + "/var/tmp", "tmpfs", 0, "mode=1777"},
	}
	for _, m := range mounts {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, s := range shares {
		m := mount{s.Tag, filepath.Join(root, s.Path), "9p", unix.MS_RDONLY, nine + ",cache=readahead"}
		if s.Writable {
			m.flags = 0
		}
		// With cache=readahead, writes still go to the host at once. Without that mode, kernels
		// that read through netfs (from 6.8 on) request each page separately, which takes ten times
		// as long. Kernels before 6.4 do not have the mode and do not need it.
		err := m.do()
		if errors.Is(err, unix.EINVAL) {
			m.data = nine
			err = m.do()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// runAndReap runs a command, and reaps orphaned processes of the machine until the command ends. It
// returns the exit status of the command.
func runAndReap(argv ...string) (int, error) {
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env: environment(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", argv[0], err)
	}
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for %s: %w", argv[0], err)
		case got == pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case got == pid:
			return status.ExitStatus(), nil
		}
	}
}
