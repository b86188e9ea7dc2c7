package session

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// death returns why the machine died; run is the runner's error.
func (s *session) death(run error) *Death {
	console, err := os.ReadFile(s.options.Machine.Console)
	if err != nil {
		console = nil // a machine that never was has none
	}
	return &Death{What: cause(string(console), s.result.Up != nil, s.late, run), Console: tail(string(console))}
}

// Messages of the kernel and the driver (kernel/panic.c, kernel/reboot.c).
var (
	panicLine  = regexp.MustCompile(`Kernel panic - not syncing: ([^\r\n]*)`)
	driverLine = regexp.MustCompile(`(?m)^vmtest: ([^\r\n]*)`)
)

// cause names the cause of a machine's end, the most certain first: the kernel reports a panic, a
// reboot and a power-off itself.
func cause(console string, up bool, late time.Duration, run error) string {
	if m := panicLine.FindStringSubmatch(console); m != nil {
		return "guest panic: " + m[1]
	}
	if m := driverLine.FindStringSubmatch(console); m != nil {
		return "driver in the guest: " + m[1]
	}
	switch {
	case late != 0 && !up:
		return fmt.Sprintf("VM did not come up within %v", late)
	case late != 0:
		return fmt.Sprintf("guest hung: no sign of life for %v", late)
	case strings.Contains(console, "reboot: Restarting system"):
		return "guest rebooted"
	case strings.Contains(console, "reboot: Power down"):
		return "guest powered off"
	case run != nil && !up:
		return fmt.Sprintf("VM did not come up: %v", run)
	case run != nil:
		return fmt.Sprintf("VM died: %v", run)
	case !up:
		return "VM ended before it came up"
	}
	// A triple fault, or a reset by the firmware: without a message of the kernel.
	return "VM reset or ended without a word from the kernel"
}

// trouble matches the first line of the kernel's report of its death.
var trouble = regexp.MustCompile(`Kernel panic|BUG: |Oops: |general protection fault|watchdog: |rcu: INFO`)

// tail returns the end of a console for a report: its last lines, or the text from the trouble on
// if that is longer.
func tail(console string) string {
	const least, most, before = 30, 150, 3
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(console, "\r", ""), "\n"), "\n")
	lines = lines[max(0, len(lines)-most):]
	from := max(0, len(lines)-least)
	for i, line := range lines[:from] {
		if trouble.MatchString(line) {
			from = max(0, i-before)
			break
		}
	}
	return strings.Join(lines[from:], "\n")
}
