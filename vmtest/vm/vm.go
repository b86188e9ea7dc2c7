// Package vm starts virtual machines that share the host's file system and run vmtest's driver
// (package guest). [VirtmeNG] uses virtme-ng; [Direct] starts qemu itself and boots in a fraction
// of the time.
//
// A machine leaves nothing behind. Its root is the host's root, read-only, with memory file systems
// on directories that a running system writes. Its processes end when Run returns.
package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/kernels"
)

// Machine is a virtual machine to run once.
type Machine struct {
	Kernel kernels.Kernel
	// CPUs and MemoryMiB default to 2 and 2048.
	CPUs, MemoryMiB int
	// Accel is the accelerator that qemu uses, by default TCG.
	Accel Accel
	// Shared is the host's side of guest.Dir, with the plan and the driver.
	Shared string
	// Scratch is an empty directory for the runner's files.
	Scratch string
	// Console is the file to which the console output, such as kernel messages, is written.
	Console string
	// Shares are further host directories that the guest sees at the same paths.
	Shares []Share
	// Root is the host's directory that is the guest's root, empty for the host's root. Only Direct
	// supports it.
	Root string
	// Terminal connects ShellDevice to stdin and stdout. Only Direct supports it.
	Terminal bool
}

// ShellDevice is the path in the guest of the terminal that Machine.Terminal connects.
const ShellDevice = "/dev/hvc0"

// Share is a host directory that a guest sees at the same path.
type Share struct {
	Path     string
	Writable bool
}

// Accel is the value of qemu's option -accel.
type Accel string

const (
	// KVM runs the guest on the host's processor.
	KVM Accel = "kvm"
	// TCG emulates the processor, in a single thread: with qemu 7.2 and a thread for each CPU,
	// guests with 7.x kernels sometimes crash.
	TCG Accel = "tcg,thread=single"
)

func (a Accel) kvm() bool { return strings.HasPrefix(string(a), "kvm") }

// outputArgs returns the qemu options for the port guest.OutputPort, whose data qemu writes to the
// file guest.OutputFile. ioeventfd=off makes the thread of the processor that notifies the device
// write the data before the processor's next instruction, under KVM too. With an eventfd, another
// thread would write them later.
func (m Machine) outputArgs() []string {
	return []string{
		"-chardev", "file,id=output,path=" + escape(filepath.Join(m.Shared, guest.OutputFile)),
		"-device", "virtio-serial-pci,id=output-bus,max_ports=3,ioeventfd=off",
		"-device", "virtserialport,bus=output-bus.0,chardev=output,name=" + guest.OutputPort,
	}
}

// Runner runs machines.
type Runner interface {
	// Name is the runner's name in a report.
	Name() string
	// Run boots the machine and returns when the machine has ended. It kills the machine when ctx
	// ends. The error tells why the machine could not be run, not what happened in it.
	Run(ctx context.Context, m Machine) error
}

func (m *Machine) defaults() {
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	if m.MemoryMiB == 0 {
		m.MemoryMiB = 2048
	}
	if m.Kernel.Arch == "" {
		m.Kernel.Arch = kernels.Architectures[0]
	}
	if m.Accel == "" {
		m.Accel = TCG
	}
}

// hostPath returns the path on the host of a path in the guest.
func (m *Machine) hostPath(path string) string {
	if path == guest.Dir {
		return m.Shared
	}
	return path
}

// run runs a command until it ends. When ctx ends, run kills the command and its children. An error
// includes the end of the command's stderr, unless cmd.Stderr is set.
func run(ctx context.Context, cmd *exec.Cmd, terminal bool) error {
	// The kernel sends the parent-death signal when the thread that forked ends: keep that thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stderr bytes.Buffer
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if terminal {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, io.MultiWriter(os.Stderr, &stderr)
	} else {
		cmd.SysProcAttr.Setpgid = true
		if mayUnshare() {
			// Killing virtme-ng does not kill its children. In a PID namespace of its own, whose
			// first process it is, it does.
			cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
		}
		if cmd.Stderr == nil {
			cmd.Stderr = &stderr
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended, killed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-ctx.Done():
			end(cmd.Process.Pid, terminal)
		case <-ended:
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-killed
	return explain(ctx, err, stderr.String())
}

// mayUnshare reports whether this process may create namespaces.
func mayUnshare() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// end kills the process group of pid. If terminal is true, the process is in the group of vmtest:
// end sends it SIGTERM, so that it restores the terminal.
func end(pid int, terminal bool) {
	if terminal {
		syscall.Kill(pid, syscall.SIGTERM)
		return
	}
	syscall.Kill(-pid, syscall.SIGKILL)
}

func explain(ctx context.Context, err error, stderr string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if text := strings.TrimSpace(stderr); err != nil && text != "" {
		const most = 2000
		return fmt.Errorf("%w: %s", err, text[max(0, len(text)-most):])
	}
	return err
}
