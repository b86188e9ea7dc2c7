// Package vm starts virtual machines that share the host's file system and run
// vmtest's driver (package guest). [VirtmeNG] is the reference; [Direct] starts
// qemu itself and boots in a fraction of the time.
//
// A machine leaves nothing behind: its disk is the host's root, read-only, with memory file
// systems on the directories that a system writes, and its processes end with Run.
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
	// Accel is the accelerator, by default TCG.
	Accel Accel
	// Shared is the host's side of guest.Dir, with the plan and the driver.
	Shared string
	// Scratch is an empty directory for the runner's files.
	Scratch string
	// Console is the file for the kernel's messages.
	Console string
	// Shares are other host directories, at the same path in the guest.
	Shares []Share
	// Terminal connects ShellDevice to stdin and stdout. Direct only.
	Terminal bool
}

// ShellDevice is the terminal in the guest of a Machine with Terminal.
const ShellDevice = "/dev/ttyS1"

// Share is a host directory that a guest sees at the same path.
type Share struct {
	Path     string
	Writable bool
}

// Accel is the value of qemu's option -accel.
type Accel string

const (
	// KVM is the processor itself.
	KVM Accel = "kvm"
	// TCG emulates. With qemu 7.2 its threads, one for each CPU, crash 7.x guests now and then; a
	// single thread does not.
	TCG Accel = "tcg,thread=single"
)

func (a Accel) kvm() bool { return strings.HasPrefix(string(a), "kvm") }

// cpu returns the CPU model with all features of the accelerator.
func (a Accel) cpu() string {
	if a.kvm() {
		return "host"
	}
	// Without ERMS kernels copy and clear memory by words. Copying by bytes, best on processors
	// that have it, takes an emulated one twice the time.
	//
	// Without CX16 they do not execute CMPXCHG16B, which qemu 7.2 emulates with the condition
	// code of an earlier instruction: after a return from an interrupt (or POPF), an ADD and a
	// CMPXCHG16B, RFLAGS holds the addend. An interrupt before the kernel's allocator sets NT,
	// AC or IOPL that way, and the guest dies of a double fault.
	return "max,-erms,-cx16"
}

// args returns qemu's options for the accelerator.
func (a Accel) args() []string {
	args := []string{"-accel", string(a), "-cpu", a.cpu()}
	if a.kvm() {
		return args
	}
	// The thread that emulates the processors also handles their requests to devices. By qemu's
	// default another thread does, which polls an eventfd of each queue at every timer of the
	// guest: virtme-ng's serial devices have 320.
	for _, device := range []string{"virtio-9p-pci", "virtio-serial-pci"} {
		args = append(args, "-global", device+".ioeventfd=off")
	}
	return args
}

// outputArgs give the machine the port guest.OutputPort, whose data qemu writes to the file
// guest.OutputFile. Without an eventfd the thread of the notifying processor writes them before the
// next instruction, under KVM too; with one another thread does, later.
func (m Machine) outputArgs() []string {
	return []string{
		"-chardev", "file,id=output,path=" + escape(filepath.Join(m.Shared, guest.OutputFile)),
		"-device", "virtio-serial-pci,id=output-bus,max_ports=2,ioeventfd=off",
		"-device", "virtserialport,bus=output-bus.0,chardev=output,name=" + guest.OutputPort,
	}
}

// Runner runs machines.
type Runner interface {
	// Name is its name in a report.
	Name() string
	// Run boots the machine and returns when it has ended, at the latest when ctx ends. The error
	// tells why the machine could not be run, not what happened in it.
	Run(ctx context.Context, m Machine) error
}

func (m *Machine) defaults() {
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	if m.MemoryMiB == 0 {
		m.MemoryMiB = 2048
	}
	if m.Accel == "" {
		m.Accel = TCG
	}
}

// hostPath returns the host's path of a path in the guest.
func (m *Machine) hostPath(path string) string {
	if path == guest.Dir {
		return m.Shared
	}
	return path
}

// commandLine is that of every kernel: panic at an oops; reboot at once at a panic, which ends
// qemu; trust the TSC, without which kernels up to 6.1 read the time slowly from an emulated HPET;
// and skip the check of the timer, which fails when the host is too busy to deliver its first ticks
// ("IO-APIC + timer doesn't work" is a panic).
var commandLine = []string{"panic=-1", "oops=panic", "loglevel=5", "tsc=reliable", "no_timer_check"}

// run runs a command and its processes until it ends or ctx does. An error has the end of its
// stderr, unless that goes elsewhere.
func run(ctx context.Context, cmd *exec.Cmd, terminal bool) error {
	// The parent-death signal is sent when the forking thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stderr bytes.Buffer
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if terminal {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, io.MultiWriter(os.Stderr, &stderr)
	} else {
		cmd.SysProcAttr.Setpgid = true
		if mayUnshare() {
			// virtme-ng's children do not die with it, but with the first process of their
			// namespace.
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

// end kills a process and its group, or terminates a process in our own group so that it restores
// the terminal.
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
