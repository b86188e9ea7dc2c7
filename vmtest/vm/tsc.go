package vm

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// kernelArgs returns the kernel command line of the machine.
func (m Machine) kernelArgs() []string {
	args := slices.Concat(commandLine, boards[m.Kernel.Arch].args)
	if m.Accel.kvm() || m.Kernel.Arch != "amd64" {
		return args
	}
	return slices.Concat(args, []string{nolockArg}, tscArgs())
}

// nolockArg keeps kmalloc_nolock working, with which kernels from 6.19 on allocate timers, arenas
// and local storage: without CMPXCHG16B (see boards) it fails, except for caches that are
// debugged (mm/slub.c, kmalloc_nolock_noprof). F is the cheapest kind, consistency checks. Before 6.9
// the kernel ignores the name.
const nolockArg = "slab_debug=F,kmalloc-*"

// tscArgs returns kernel arguments with the rate of the guest's time stamp counter, which under TCG
// is that of the host (qemu's cpu_get_tsc). Without them the guest measures the rate with an
// emulated timer; on a busy host the result was eight times too small, so the guest's clock ran
// eight times too fast. If the rate is unknown, tscArgs returns nil.
func tscArgs() []string {
	if runtime.GOARCH != "amd64" {
		return nil
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil
	}
	if khz := tscKHz(string(info)); khz != 0 {
		return []string{fmt.Sprintf("tsc_early_khz=%d", khz)}
	}
	return nil
}

// tscKHz computes the rate of the time stamp counter from the contents of /proc/cpuinfo, or returns
// 0 if it is unknown. On processors with a constant rate the kernel delays by that counter, and
// bogomips is twice its rate in MHz (calibrate_delay, init/calibrate.c).
func tscKHz(cpuinfo string) int {
	fields := make(map[string]string)
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); fields[key] == "" {
			fields[key] = strings.TrimSpace(value)
		}
	}
	mips, err := strconv.ParseFloat(fields["bogomips"], 64)
	if err != nil || !strings.Contains(" "+fields["flags"]+" ", " constant_tsc ") {
		return 0
	}
	return int(mips * 500)
}
