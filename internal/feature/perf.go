package feature

import (
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// kprobe looks for the file in which probes of the kernel's functions are made.
func kprobe() error {
	_, err := os.Stat("/sys/kernel/tracing/kprobe_events")
	return err
}

// tracer loads a program for perf events or probes.
func tracer(typ ebpf.ProgramType, attach ebpf.AttachType) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: typ, AttachType: attach, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
}

// kprobeMulti attaches a program to functions of the kernel with one link.
func kprobeMulti() error {
	p, err := tracer(ebpf.Kprobe, ebpf.AttachTraceKprobeMulti)
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.KprobeMulti(p, link.KprobeMultiOptions{Symbols: []string{"vfs_read"}})
	if err != nil {
		return err
	}
	return l.Close()
}

// perfEventLink attaches a program to a perf event with a link.
func perfEventLink() error {
	p, err := tracer(ebpf.PerfEvent, ebpf.AttachNone)
	if err != nil {
		return err
	}
	defer p.Close()
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample: 1 << 30}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: p, Attach: ebpf.AttachPerfEvent})
	if err != nil {
		return err
	}
	return l.Close()
}
