package vm

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// kernelArgs is what the kernel of a machine is told.
func (m Machine) kernelArgs() []string {
	if m.Accel.kvm() {
		return commandLine
	}
	return slices.Concat(commandLine, tscArgs())
}

// tscArgs says how fast the guest's time stamp counter runs, which under TCG is the host's
// (qemu's cpu_get_tsc). A guest finds that out by an emulated timer; on a busy host it came out
// eight times too slow, and so the guest's time eight times too fast. Nothing is said of a
// counter whose rate is not known.
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

// tscKHz is the rate by /proc/cpuinfo, or 0. The kernel delays by a counter of constant rate and then
// shows twice that rate, in MHz, as bogomips (calibrate_delay, init/calibrate.c).
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
