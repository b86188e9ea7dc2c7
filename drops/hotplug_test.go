package drops_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/testenv"
)

// online switches CPU 1 on or off.
func online(t *testing.T, on bool) {
	t.Helper()
	text := "0"
	if on {
		text = "1"
	}
	if err := os.WriteFile("/sys/devices/system/cpu/cpu1/online", []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// runOn runs Output on a CPU.
func runOn(t *testing.T, s *reservers.Set, cpu int) {
	t.Helper()
	restore, err := pin(cpu)
	if err != nil {
		t.Fatal(err)
	}
	defer restore()
	if err := s.Run(reservers.Output); err != nil {
		t.Fatal(err)
	}
}

func TestACPUThatGoesAndComes(t *testing.T) {
	f, _ := feature.Find("cpu-hotplug")
	if err := f.Have(); err != nil {
		testenv.SkipWithout(t, "cpu-hotplug", err)
	}
	const each = 50
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		s := load(t, reservers.Config{Steps: each, MaxSize: 200}, reservers.Output)
		c := count(t, drops.Options{Engine: e})
		t.Cleanup(func() { online(t, true) })
		runOn(t, s, 1)
		for _, seen := range []bool{true, false} { // whether the counter looks while the CPU is off
			online(t, false)
			runOn(t, s, 0)
			report, r := read(t, c, s.Ring)
			if seen && len(report.Notes) > 0 {
				t.Errorf("notes %q", report.Notes)
			}
			before := r.Calls
			if !seen {
				online(t, true)
				online(t, false)
			}
			online(t, true)
			// Until the counter has seen that the CPU is back.
			for deadline := time.Now().Add(2 * time.Minute); ; before = r.Calls {
				runOn(t, s, 1)
				if report, r = read(t, c, s.Ring); r.Calls == before+each {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("calls on a CPU that came back are not seen: %+v", report)
				}
			}
		}
		report, r := read(t, c, s.Ring)
		truth, err := s.Total()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d calls, %d failed, between %d and %d, missed %d; truth %+v; notes %q", r.Calls, r.Failed, r.FailedLow, r.FailedHigh, report.Missed,
			truth, report.Notes)
		if r.Calls > truth.Calls || r.FailedLow > truth.Failed {
			t.Errorf("%+v; want %+v", r, truth)
		}
		if said := strings.Contains(strings.Join(report.Notes, ""), "CPU 1 came online meanwhile; calls on it until "); r.Calls < truth.Calls && !said {
			t.Errorf("%d of %d calls; notes %q", r.Calls, truth.Calls, report.Notes)
		}
		if len(r.CPUs) != 2 {
			t.Errorf("CPUs %+v", r.CPUs)
		}
	})
}
