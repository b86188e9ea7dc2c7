package vm

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// kernelArgs returns the command line of a machine's kernel.
func (m Machine) kernelArgs() []string {
	if m.Accel.kvm() {
		return commandLine
	}
	return slices.Concat(commandLine, []string{nolockArg}, tscArgs())
}

// nolockArg keeps kmalloc_nolock working, with which kernels from 6.19 on allocate timers, arenas
// and local storage: without CMPXCHG16B (see Accel.cpu) it fails, except for caches that are
// debugged (mm/slub.c, kmalloc_nolock_noprof). F is the cheapest kind, consistency checks. Before 6.9
// the kernel ignores the name.
const nolockArg = "slab_debug=F,kmalloc-*"

// tscArgs tells the guest the rate of its time stamp counter, which under TCG is that of the host
// (qemu's cpu_get_tsc). Without it a guest measures the rate by an emulated timer; on a busy host
// the result was eight times too small, and the guest's clock eight times too fast. If the rate is
// unknown it returns nothing.
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

// tscKHz returns the rate by /proc/cpuinfo, or 0. For its delays the kernel uses a counter of
// constant rate, and shows twice the rate, in MHz, as bogomips (calibrate_delay, init/calibrate.c).
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
