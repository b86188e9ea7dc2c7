package top

import (
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

func TestTheListAt80x24(t *testing.T) {
	d := newDriver(t, Config{})
	d.expect(
		"rbtool top  3 rings  3M/s  1 arena  1 stuck  15:04:05",
		"     ID NAME               %  IN/S   LAG  FULL  LOST STATE    OWNER",
		"      7 audit            100     -   60s     -     - CONSUMER auditor",
		"     12 events            50    3M   30s     -     - flowing  agent",
		"     30 left              10     -  6.0s     -     - nobody",
		"     31 shared             -     -     -     -     - -",
		"",
	)
	lines := d.lines()
	if len(lines) != 24 || !strings.HasPrefix(lines[23], "enter open") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func TestTheListInASCII(t *testing.T) {
	d := newDriver(t, Config{ASCII: true})
	for _, keys := range []string{"", "?", "?"} {
		if keys != "" {
			d.press(keys)
		}
		for _, r := range d.View() {
			if r > 126 {
				t.Fatalf("%q in\n%s", r, d.View())
			}
		}
	}
	d.send(tea.WindowSizeMsg{Width: 120, Height: 40})
	d.contains("audit              1M ########  100", "events             1M ####")
}

func names(d driver) string {
	var list []string
	for _, r := range d.rows() {
		list = append(list, r.Name)
	}
	return strings.Join(list, " ")
}

func TestSorting(t *testing.T) {
	d := newDriver(t, Config{})
	for _, want := range []string{"audit events left shared", "events audit left shared", "audit events left shared",
		"audit events left shared", "audit left events shared", "audit events left shared", "audit events left shared"} {
		if got := names(d); got != want {
			t.Errorf("by %s: %s, want %s", Orders[d.by], got, want)
		}
		d.press("s")
	}
	if d.by != byFill {
		t.Error("the orders do not wrap around")
	}
	d.press("r")
	if got := names(d); got != "shared left events audit" {
		t.Errorf("reversed: %s", got)
	}
	d.press("S")
	if d.by != byID {
		t.Error("S does not go back")
	}
}

func TestFiltering(t *testing.T) {
	d := newDriver(t, Config{})
	d.press("/", "a", "u", "d")
	d.contains("/aud_")
	if got := names(d); got != "audit" {
		t.Error(got)
	}
	d.press("enter")
	d.contains("esc clears")
	d.press("esc")
	if got := names(d); got != "audit events left shared" {
		t.Error(got)
	}
	// Keys that are typed fast arrive in one message. Each word of the filter can be in any column.
	d.press("/ARENA sh")
	if got := names(d); got != "shared" {
		t.Error(got)
	}
	d.press("backspace", "backspace", "backspace", "xyz", "enter")
	d.contains("nothing matches the filter")
	d.press("enter") // no row is selected: enter opens nothing
	if d.view != listView {
		t.Error("a ring was opened")
	}
	d.press("/", "esc")
	if d.filter != "" || d.typing {
		t.Errorf("filter %q", d.filter)
	}
}

func TestTheSelectionStaysOnItsRing(t *testing.T) {
	d := newDriver(t, Config{})
	d.press("down")
	at := func() string { list := d.rows(); return list[d.index(list)].Name }
	if at() != "events" {
		t.Fatal(at())
	}
	sample := newTestSample()
	sample.Maps[1].Positions.Fill = 1
	sample.Maps[0].Positions.Fill = 0
	d.send(sampled{sample: sample})
	if at() != "events" {
		t.Errorf("on %s after the order changed", at())
	}
	sample = newTestSample()
	sample.Maps = sample.Maps[:1]
	d.send(sampled{sample: sample})
	if at() != "audit" {
		t.Errorf("on %s after its ring went", at())
	}
	d.press("up", "up", "end", "home", "pgdown", "G", "g", "j", "k")
}

func TestManyRingsScroll(t *testing.T) {
	d := newDriver(t, Config{})
	sample := &inspect.Report{}
	for i := range 100 {
		sample.Maps = append(sample.Maps, ringSample(ebpf.MapID(i+1), fmt.Sprintf("ring%02d", i), 0, 0, inspect.Idle))
	}
	d.send(sampled{sample: sample})
	d.contains("ring00", "ring20")
	d.press("pgdown")
	d.contains("ring21")
	d.press("end")
	d.contains("ring99", "ring79")
	if strings.Contains(d.View(), "ring78") {
		t.Error("more rows than fit")
	}
	d.press("home")
	d.contains("ring00")
}

// On a screen of any width, the columns fit and each has its full width.
func TestColumnsFit(t *testing.T) {
	for width := 47; width < 300; width++ {
		used := -1
		for _, c := range new(Model).fit(width) {
			used += c.width + 1
		}
		if used > width {
			t.Errorf("%d columns in a width of %d", used, width)
		}
	}
}

func TestTheTitleCounts(t *testing.T) {
	d := newDriver(t, Config{})
	sample := newTestSample()
	ring, arena := sample.Maps[2], sample.Maps[3]
	unknown := ring
	unknown.Positions, unknown.Flow = nil, nil
	for want, maps := range map[string][]inspect.Map{
		"rbtool top  0 rings  15:04:05":                      nil,
		"rbtool top  1 ring  15:04:05":                       {ring},
		"rbtool top  2 rings  2 arenas  15:04:05":            {ring, ring, arena, arena},
		"rbtool top  2 rings  1 without positions  15:04:05": {ring, unknown},
	} {
		sample.Maps = maps
		d.send(sampled{sample: sample})
		d.expect(want)
	}
	sample.Maps, sample.PerfEventArrays = nil, 1
	d.send(sampled{sample: sample})
	d.contains("1 perf event array, which rbtool does not read")
}

func TestLossesAreShownOnlyIfTheyAreKnown(t *testing.T) {
	m := ringSample(1, "r", 0, 0, inspect.Idle)
	if got := lostText(&Model{}, &m, 5); got != "-" {
		t.Errorf("got %s", got)
	}
	at := uint64(0)
	m.Positions.Overwrite, m.Flow.Overwritten = &at, inspect.Total{Lo: 2048}
	if got := lostText(&Model{}, &m, 5); got != "2K" {
		t.Errorf("got %s", got)
	}
	m = ringSample(2, "u", 0, 0, inspect.Idle)
	m.Flow.Refused = &inspect.Refused{Samples: 7, Bytes: 3072}
	if got := lostText(&Model{}, &m, 5); got != "3K" {
		t.Errorf("got %s of a user ring", got)
	}
}

// A name is shown whole, or counted.
func TestManyOwners(t *testing.T) {
	var m inspect.Map
	for _, tt := range []struct {
		comms string
		want  string
	}{
		{"", ""},
		{"a-process-name-", "a-process-name-"},
		{"agent helper", "agent,helper"},
		{"agent a-process-name-", "a-process-name- +1"},
		{"agent helper third more", "agent,helper +2"},
		{"bpf\x1b[2J", `bpf\x1b[2J`},
	} {
		m.Users = nil
		for _, comm := range strings.Fields(tt.comms) {
			m.Users = append(m.Users, inspect.User{Comm: comm})
		}
		if got := ownerText(nil, &m, 18); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.comms, got, tt.want)
		}
	}
}

func TestNotesAreAboveTheFooter(t *testing.T) {
	d := newDriver(t, Config{})
	sample := newTestSample()
	sample.Notes = []string{strings.Repeat("unknown ", 12)}
	d.send(sampled{sample: sample})
	lines := d.lines()
	if !strings.HasPrefix(lines[21], "note: unknown") || !strings.HasPrefix(lines[22], "      unknown") || !strings.HasPrefix(lines[23], "enter open") {
		t.Errorf("got\n%s", d.View())
	}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 7}) // there is no room for them
	d.contains("shared", "enter open")
}
