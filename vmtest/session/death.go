package session

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// death returns why the machine died. run is the error that the runner returned.
func (s *session) death(run error) *Death {
	console, err := os.ReadFile(s.options.Machine.Console)
	if err != nil {
		console = nil // without the file, the machine was never started
	}
	return &Death{What: cause(string(console), s.result.Up != nil, s.late, run), Console: tail(string(console))}
}

// Messages of the kernel and the driver (kernel/panic.c, kernel/reboot.c).
var (
	panicLine  = regexp.MustCompile(`Kernel panic - not syncing: ([^\r\n]*)`)
	driverLine = regexp.MustCompile(`(?m)^vmtest: ([^\r\n]*)`)
)

// cause returns the cause of a machine's end. It checks the most certain signs first: messages of
// the kernel and the driver. late is the time limit that the machine exceeded, or 0.
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
		return fmt.Sprintf("guest hung: no event for %v", late)
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
	// After a triple fault or a reset by the firmware there is no message from the kernel.
	return "VM reset or ended without a message from the kernel"
}

// trouble matches the line with which a kernel begins to report a fatal error.
var trouble = regexp.MustCompile(`Kernel panic|BUG: |Oops: |general protection fault|watchdog: |rcu: INFO`)

// tail returns the end of the console output for a report: the last lines or, if that is more, all
// from a few lines before the first line that [trouble] matches.
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
