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

// VirtmeNG runs machines under virtme-ng.
type VirtmeNG struct {
	// Dir is the directory into which its package was unpacked; "" is an
	// installed one.
	Dir string
	// Home is where it keeps upstream kernels that it fetched.
	Home string
}

// Name is "virtme-ng".
func (VirtmeNG) Name() string { return "virtme-ng" }

// Run implements Runner.
func (v VirtmeNG) Run(ctx context.Context, m Machine) error {
	m.defaults()
	if m.Terminal {
		return fmt.Errorf("run virtme-ng: no terminals here, vng -r %s gives one", m.Kernel.Image)
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
	console, err := os.Create(m.Console)
	if err != nil {
		return fmt.Errorf("run virtme-ng: %w", err)
	}
	defer console.Close()
	// A pipe: qemu opens what it is given once more, and truncates a file.
	cmd.Stderr = io.MultiWriter(console)
	if err := run(ctx, cmd, false); err != nil {
		return fmt.Errorf("run virtme-ng: %w", err)
	}
	return nil
}

func (VirtmeNG) args(m Machine) ([]string, error) {
	kernel := m.Kernel.Image
	if kernel == "" {
		kernel = m.Kernel.Name
	}
	args := []string{
		"-v",                // the console goes to stderr, and not nowhere
		"--force-9p",        // Debian 12's virtiofsd refuses its options
		"--disable-microvm", // which has fewer devices
	}
	if !m.Accel.kvm() {
		// No -accel is given then, so that ours is the only one.
		args = append(args, "--disable-kvm", "--qemu-opts=-accel "+string(m.Accel)+" -cpu "+m.Accel.cpu())
	}
	args = append(args, "--rwdir="+guest.Dir+"="+m.Shared)
	for _, s := range m.Shares {
		kind := "--rodir="
		if s.Writable {
			kind = "--rwdir="
		}
		args = append(args, kind+s.Path+"="+s.Path)
	}
	for _, a := range m.kernelArgs() {
		args = append(args, "-a", a)
	}
	args = append(args, "--cpus", strconv.Itoa(m.CPUs), "--memory", strconv.Itoa(m.MemoryMiB)+"M",
		"-r", kernel,
		"--", filepath.Join(guest.Dir, guest.DriverFile)+" "+guest.Command)
	for _, a := range args { // virtme-ng passes them through a shell
		if strings.ContainsAny(strings.TrimPrefix(a, "--qemu-opts="), "'\"$\\;&|<>()`*?\n") {
			return nil, fmt.Errorf("cannot pass %q through virtme-ng", a)
		}
	}
	return args, nil
}

// environment keeps virtme-ng from the user's own configuration.
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
