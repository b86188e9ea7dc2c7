package vm

// board is what qemu emulates for an architecture.
type board struct {
	// qemu is the program, machine the value of its option -machine.
	qemu, machine string
	// cpu is the emulated processor.
	cpu string
	// console is the kernel's name of the serial port.
	console string
	// args are arguments for the kernel.
	args []string
}

// boards has the boards by architecture, as a GOARCH value.
var boards = map[string]board{
	"amd64": {
		qemu: "qemu-system-x86_64", machine: "q35", console: "ttyS0",
		// Without the feature ERMS, kernels copy and clear memory by words. With it they do so by
		// bytes, which takes an emulated processor twice as long.
		//
		// Without the feature CX16, kernels do not execute CMPXCHG16B. qemu 7.2 emulates that
		// instruction with the condition code of an earlier instruction: after a return from an
		// interrupt (or POPF), an ADD and a CMPXCHG16B, RFLAGS holds the addend. If an interrupt
		// arrives before such code in the kernel's allocator, NT, AC or IOPL may get set, and the
		// guest dies of a double fault.
		cpu: "max,-erms,-cx16",
		// Trust the TSC, since kernels up to 6.1 would otherwise read the time from an emulated HPET,
		// which is slow; and skip the check of the timer, since it fails ("IO-APIC + timer doesn't
		// work", a panic) when the host is too busy to deliver the first ticks.
		args: []string{"tsc=reliable", "no_timer_check"},
	},
	"arm64": {
		qemu: "qemu-system-aarch64", machine: "virt", console: "ttyAMA0",
		// The algorithm of the architecture for pointer authentication takes qemu most of its time.
		cpu: "max,pauth-impdef=on",
	},
}

// Qemu returns the name of the qemu program for an architecture.
func Qemu(arch string) string { return boards[arch].qemu }

// commandLine has the arguments of every kernel: panic at an oops, and reboot at once at a panic,
// which ends qemu.
var commandLine = []string{"panic=-1", "oops=panic", "loglevel=5"}

// accelArgs returns qemu's options for the accelerator.
func (m Machine) accelArgs() []string {
	if m.Accel.kvm() {
		return []string{"-accel", string(m.Accel), "-cpu", "host"}
	}
	args := []string{"-accel", string(m.Accel), "-cpu", boards[m.Kernel.Arch].cpu}
	// ioeventfd=off makes the thread that emulates the processors handle their requests to devices.
	// By default another thread of qemu does that: it polls one eventfd for each queue at every
	// timer of the guest, and virtme-ng's serial devices have 320 queues.
	for _, device := range []string{"virtio-9p-pci", "virtio-serial-pci"} {
		args = append(args, "-global", device+".ioeventfd=off")
	}
	return args
}
