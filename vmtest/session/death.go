package session

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// death says what the machine died of: run is the runner's error.
func (s *session) death(run error) *Death {
	console, err := os.ReadFile(s.options.Machine.Console)
	if err != nil {
		console = nil // a machine that never was has none
	}
	return &Death{What: cause(string(console), s.result.Up != nil, s.late, run), Console: tail(string(console))}
}

// What the kernel and the driver print (kernel/panic.c, kernel/reboot.c).
var (
	panicLine  = regexp.MustCompile(`Kernel panic - not syncing: ([^\r\n]*)`)
	driverLine = regexp.MustCompile(`(?m)^vmtest: ([^\r\n]*)`)
)

// cause names the cause of a machine's end. The most certain comes first: a
// kernel that panicked has said so, and one that rebooted or powered off too.
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
	// A triple fault, or a reset by the firmware: the kernel could say nothing.
	return "VM reset or ended without a word from the kernel"
}

// trouble begins what a kernel says of its own death, before the long rest.
var trouble = regexp.MustCompile(`Kernel panic|BUG: |Oops: |general protection fault|watchdog: |rcu: INFO`)

// tail is the end of a console, for a report: its last lines, or what begins
// with the trouble if that is more.
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
