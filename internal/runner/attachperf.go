package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// defaultFrequency is that of perf record -F 99: it does not beat in time with what the system does.
const defaultFrequency = 99

// perfEvent is a perf event with a program.
type perfEvent int

// Close implements [io.Closer]. It ends the event and detaches its program.
func (e perfEvent) Close() error { return unix.Close(int(e)) }

// attachPerfEvent samples all CPUs by their clocks.
func attachPerfEvent(_ *Object, p *Program, t Targets) ([]io.Closer, error) {
	cpus, err := onlineCPUs()
	if err != nil {
		return nil, err
	}
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: unix.PERF_ATTR_SIZE_VER1,
		Sample: t.Frequency, Bits: unix.PerfBitFreq,
	}
	if attr.Sample == 0 {
		attr.Sample = defaultFrequency
	}
	return each(cpus, func(cpu int) (io.Closer, error) {
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("open clock of CPU %d: %w", cpu, os.NewSyscallError("perf_event_open", err))
		}
		l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: p.Program, Attach: ebpf.AttachPerfEvent})
		if err == nil {
			unix.Close(fd) // the link holds the event
			return l, nil
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, ebpf.ErrNotSupported) {
			unix.Close(fd)
			return nil, err
		}
		// Before Linux 5.15 perf events have no links.
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, p.FD()); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("ioctl PERF_EVENT_IOC_SET_BPF", err)
		}
		return perfEvent(fd), nil
	})
}

// onlineCPUs returns the CPUs that run now.
func onlineCPUs() (cpus []int, err error) {
	const path = "/sys/devices/system/cpu/online" // a list such as 0-3,6
	list, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(strings.TrimSpace(string(list)), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
