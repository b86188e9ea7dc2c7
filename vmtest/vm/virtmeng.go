package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rbtool/rbtool/vmtest/guest"
)

// VirtmeNG is a runner that runs machines with virtme-ng.
type VirtmeNG struct {
	// Dir is the directory of the unpacked package virtme-ng, empty to use the installed program.
	Dir string
	// Home is the directory in which virtme-ng stores the upstream kernels that it fetches.
	Home string
}

// Name is "virtme-ng".
func (VirtmeNG) Name() string { return "virtme-ng" }

// Run implements Runner.
func (v VirtmeNG) Run(ctx context.Context, m Machine) error {
	m.defaults()
	if m.Terminal {
		return fmt.Errorf("run virtme-ng: vmtest has no shell with this runner (vng -r %s starts one)", m.Kernel.Image)
	}
	if m.Root != "" {
		return fmt.Errorf("run virtme-ng: %s is of another architecture than this host (-runner direct)", m.Kernel.Name)
	}
	vng := "vng"
	if v.Dir != "" {
		vng = filepath.Join(v.Dir, "usr/bin/vng")
	}
	args, err := v.args(m)
	if err != nil {
		return fmt.Errorf("run virtme-ng: %w", err)
	}
	cmd := exec.Command(vng, args...)
	if err := os.MkdirAll(v.Home, 0o755); err != nil {
		return fmt.Errorf("run virtme-ng: %w", err)
	}
	cmd.Env, cmd.Dir = v.environment(m.Scratch), "/"
	if err := v.configure(m); err != nil {
		return fmt.Errorf("run virtme-ng: %w", err)
	}
	console, err := os.Create(m.Console)
	if err != nil {
		return fmt.Errorf("run virtme-ng: %w", err)
	}
	defer console.Close()
	// MultiWriter makes exec use a pipe: qemu would open the file again and truncate it.
	cmd.Stderr = io.MultiWriter(console)
	if err := run(ctx, cmd, false); err != nil {
		return fmt.Errorf("run virtme-ng: %w", err)
	}
	return nil
}

func (v VirtmeNG) args(m Machine) ([]string, error) {
	kernel := m.Kernel.Image
	if kernel == "" {
		kernel = m.Kernel.Name
	}
	args := []string{
		"-v",                // the console goes to stderr, and not nowhere
		"--force-9p",        // Debian 12's virtiofsd refuses its options
		"--disable-microvm", // which has fewer devices
		"--force-initramfs", // which takes the first init= that the kernel is given, ours
	}
	qemu := m.outputArgs()
	if !m.Accel.kvm() {
		// virtme-ng then passes no -accel, and ours is the only one.
		args, qemu = append(args, "--disable-kvm"), append(m.accelArgs(), qemu...)
	}
	args = append(args, "--qemu-opts="+strings.Join(qemu, " "))
	for _, s := range v.shares(m) {
		kind := "--rodir="
		if s.Writable {
			kind = "--rwdir="
		}
		args = append(args, kind+s.Path+"="+m.hostPath(s.Path))
	}
	for _, a := range m.kernelArgs() {
		args = append(args, "-a", a)
	}
	args = append(args, "-a", "init="+filepath.Join(m.Shared, initFile),
		"--cpus", strconv.Itoa(m.CPUs), "--memory", strconv.Itoa(m.MemoryMiB)+"M",
		"-r", kernel,
		"--", "true") // without a command it wants a terminal
	// virtme-ng's initramfs splits the kernel's command line at blanks.
	if strings.ContainsAny(m.Shared, " \t") {
		return nil, fmt.Errorf("cannot pass %q through virtme-ng", m.Shared)
	}
	for _, a := range args { // virtme-ng passes these arguments through a shell
		if a == nolockArg {
			continue // the shell does not change a pattern that matches no file
		}
		if strings.ContainsAny(strings.TrimPrefix(a, "--qemu-opts="), "'\"$\\;&|<>()`*?\n") {
			return nil, fmt.Errorf("cannot pass %q through virtme-ng", a)
		}
	}
	return args, nil
}

// configure writes the program and configuration of the guest's first process. virtme-ng's own
// first process is a script that starts a hundred programs from the host's file system, udev among
// them, which takes an emulated processor 15 s. [guest.Init] replaces it: it mounts the shares
// itself, and mounts the host's root again with a cache.
func (v VirtmeNG) configure(m Machine) error {
	config := guest.Config{Driver: filepath.Join(guest.Dir, guest.DriverFile)}
	for _, s := range v.shares(m) {
		if s.Path == "/" {
			config.Root = s.Tag
		} else {
			config.Shares = append(config.Shares, s)
		}
	}
	text, err := configuration(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.Shared, guest.ConfigFile), text, 0o644); err != nil {
		return err
	}
	script := fmt.Sprintf(initScript, filepath.Join(m.Shared, guest.DriverFile))
	return os.WriteFile(filepath.Join(m.Shared, initFile), []byte(script), 0o755)
}

// initFile is a script that starts the driver as the first process. When a Go program starts, it
// reads a file in /sys. At that time /sys is the host's: its files report a size of 4096 bytes but
// have fewer, and Linux 6.12 would request the rest from the file server again and again
// (netfs_retry_reads).
const (
	initFile   = "init"
	initScript = "#!/bin/sh\nmount -t proc proc /proc && mount -t sysfs sysfs /sys && exec %s\n"
)

// shares returns the shares of m with the tags that virtme-ng gives them. It numbers the writable
// ones first.
func (VirtmeNG) shares(m Machine) (shares []guest.Share) {
	all := append([]Share{{Path: guest.Dir, Writable: true}, {Path: "/"}}, m.Shares...)
	for _, writable := range []bool{true, false} {
		for _, s := range all {
			if s.Writable == writable {
				tag := "virtme.initmount" + strconv.Itoa(len(shares))
				shares = append(shares, guest.Share{Tag: tag, Path: s.Path, Writable: writable})
			}
		}
	}
	return shares
}

// environment returns an environment in which virtme-ng does not find the user's configuration.
func (v VirtmeNG) environment(tmp string) []string {
	path := os.Getenv("PATH")
	if v.Dir != "" {
		path = filepath.Join(v.Dir, "usr/bin") + ":" + path
	}
	env := []string{"PATH=" + path + ":/usr/sbin:/sbin", "HOME=" + v.Home, "TMPDIR=" + tmp, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"}
	if v.Dir != "" {
		env = append(env, "PYTHONPATH="+filepath.Join(v.Dir, "usr/lib/python3/dist-packages"))
	}
	return env
}
