package near

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	known := []string{"exec_event", "exit_event", "pid", "ppid", "comm", "pid", "", "a1", "a2", "a3", "a4", "a5", "a6"}
	for name, want := range map[string]string{
		"exec_evnt": "exec_event exit_event", "pod": "pid", "ppd": "pid ppid", "event": "exec_event exit_event", "zzz": "",
		"pid": "pid ppid", "pdi": "pid", "cmom": "comm", "xyid": "", "a": "a1 a2 a3 a4 a5",
	} {
		if got := strings.Join(Names(name, known), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	long := strings.Repeat("pid", 1<<20)
	if got := Names(long, []string{long}); got != nil {
		t.Errorf("%d long names", len(got))
	}
	if got := strings.Join(Names("pid", []string{long, "pod"}), " "); got != "pod" {
		t.Errorf("%.20q is near", got)
	}
	if got := Hint("pod", known); got != " (near: pid)" {
		t.Errorf("%q", got)
	}
	if got := Hint("zzz", known); got != "" {
		t.Errorf("%q", got)
	}
}
