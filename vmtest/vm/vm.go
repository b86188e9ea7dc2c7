// Package vm starts virtual machines that share the host's file system and run
// vmtest's driver (package guest). [VirtmeNG] is the reference; [Direct] starts
// qemu itself and boots in a fraction of the time.
//
// A machine leaves nothing behind: its disk is the host's root, read-only, with
// memory file systems where a system writes, and its processes end with Run.
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
	// CPUs and MemoryMiB are 2 and 2048 where they are 0.
	CPUs, MemoryMiB int
	// Accel is how the processor is virtualised; "" is TCG.
	Accel Accel
	// Shared is the host's side of guest.Dir: the plan and the driver are in it.
	Shared string
	// Scratch is an empty directory for the runner's own files.
	Scratch string
	// Console is the file that gets what the kernel prints.
	Console string
	// Shares are further host directories, at the same path in the guest.
	Shares []Share
	// Terminal connects ShellDevice to stdin and stdout. Direct only.
	Terminal bool
}

// ShellDevice is, in the guest, the terminal of a Machine with Terminal.
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
	// TCG emulates. Its threads, one for each CPU, crash 7.x guests now and
	// then with qemu 7.2; one thread that takes turns never did.
	TCG Accel = "tcg,thread=single"
)

func (a Accel) kvm() bool { return strings.HasPrefix(string(a), "kvm") }

// cpu is the model with all that the accelerator can do.
func (a Accel) cpu() string {
	if a.kvm() {
		return "host"
	}
	// Without ERMS kernels copy and clear memory by words: by bytes, as processors that have it
	// are best told to, takes an emulated one twice the time.
	//
	// Without CX16 they do not execute CMPXCHG16B, which qemu 7.2 emulates with the condition
	// code of an earlier instruction: after a return from an interrupt (or POPF), an ADD and a
	// CMPXCHG16B, RFLAGS holds the addend. An interrupt before the kernel's allocator sets NT,
	// AC or IOPL that way, and the guest dies of a double fault.
	return "max,-erms,-cx16"
}

// args are what the accelerator wants of qemu's command line.
func (a Accel) args() []string {
	args := []string{"-accel", string(a), "-cpu", a.cpu()}
	if a.kvm() {
		return args
	}
	// The thread that emulates the processors takes what they ask of a device itself. By qemu's
	// default another thread does, which at every timer of the guest polls an eventfd of each
	// queue: virtme-ng's serial devices have 320.
	for _, device := range []string{"virtio-9p-pci", "virtio-serial-pci"} {
		args = append(args, "-global", device+".ioeventfd=off")
	}
	return args
}

// outputArgs give the machine the port guest.OutputPort, whose data qemu writes to the file
// guest.OutputFile. Without an eventfd the thread of the processor that notifies the port does
// that, before the next instruction, under KVM too; with one another thread does, later.
func (m Machine) outputArgs() []string {
	return []string{
		"-chardev", "file,id=output,path=" + escape(filepath.Join(m.Shared, guest.OutputFile)),
		"-device", "virtio-serial-pci,id=output-bus,max_ports=2,ioeventfd=off",
		"-device", "virtserialport,bus=output-bus.0,chardev=output,name=" + guest.OutputPort,
	}
}

// Runner runs machines.
type Runner interface {
	// Name tells runners apart in a report.
	Name() string
	// Run boots the machine and returns when it has ended, which it does at
	// the latest when ctx does. The error says why the machine could not be
	// run, not what happened inside it.
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

// hostPath is where on the host lies what the guest has at path.
func (m *Machine) hostPath(path string) string {
	if path == guest.Dir {
		return m.Shared
	}
	return path
}

// commandLine is what every kernel is told: to panic at an oops, and at a panic to
// reboot at once, which ends qemu; to trust the TSC, without which kernels
// up to 6.1 read the time from an emulated HPET, slowly; and not to take the timer
// for broken when the host was too busy to deliver its first ticks ("IO-APIC + timer
// doesn't work" is a panic).
var commandLine = []string{"panic=-1", "oops=panic", "loglevel=5", "tsc=reliable", "no_timer_check"}

// run runs a command and all its processes until it ends or ctx does. An error
// has the end of its stderr, unless that goes elsewhere.
func run(ctx context.Context, cmd *exec.Cmd, terminal bool) error {
	// The signal at the parent's death is sent when the thread ends that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stderr bytes.Buffer
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if terminal {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, io.MultiWriter(os.Stderr, &stderr)
	} else {
		cmd.SysProcAttr.Setpgid = true
		if mayUnshare() {
			// virtme-ng starts others, which do not die with it: but they do with
			// the first process of their namespace.
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

// mayUnshare says whether this process may make namespaces.
func mayUnshare() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// end ends a process and its group, or a process in our own group in a way that
// lets it restore the terminal.
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
