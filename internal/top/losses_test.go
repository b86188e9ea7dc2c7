package top

import (
	"errors"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
)

func TestDropsAreAColumnIfTheyAreCounted(t *testing.T) {
	counted := NewDrops(&drops.Report{Rings: []drops.Ring{
		{ID: 12, Calls: 100, Failed: 7, FailedBytes: 2048},
		{ID: 30, Calls: 100, Failed: 9, FailedBytes: 1024},
		{ID: 7, Calls: 9, Failed: 9, FailedBytes: 9, Gone: true}, // an earlier ring of this id
	}}, 0)
	d := newDriver(t, Config{Drops: func() (*Drops, error) { return counted, nil }})
	d.send(d.takeSampleOf(newTestSample()))
	d.press("sss")
	d.expect("rbtool top  3 rings  3M/s  1 arena  1 stuck  15:04:05",
		"     ID NAME               %  IN/S   LAG  FULL  LOST DROPS STATE    OWNER",
		"     12 events            50    3M   30s     -    2K     7 flowing  agent",
		"     30 left              10     -  6.0s     -    1K     9 nobody",
		"      7 audit            100     -   60s     -     0     0 CONSUMER auditor",
		"     31 shared             -     -     -     -     -     - -")
	d.send(tea.WindowSizeMsg{Width: 29, Height: 10})
	if strings.Contains(d.View(), dropsTitle) {
		t.Error("a narrow screen shows DROPS")
	}
	d = newDriver(t, Config{})
	if strings.Contains(d.View(), dropsTitle) {
		t.Error("DROPS is shown although nothing counts")
	}
}

func TestOnlyTheCountedRingHasDrops(t *testing.T) {
	counted := NewDrops(&drops.Report{Rings: []drops.Ring{{ID: 12, Calls: 100, Failed: 7, FailedBytes: 2048}}}, 12)
	d := newDriver(t, Config{Drops: func() (*Drops, error) { return counted, nil }})
	d.send(d.takeSampleOf(newTestSample()))
	d.contains("     12 events            50    3M   30s     -    2K     7 flowing  agent",
		"      7 audit            100     -   60s     -     -     - CONSUMER auditor")
}

// takeSampleOf returns the message of a sample that is r.
func (d driver) takeSampleOf(r *inspect.Report) tea.Msg {
	d.cfg.Sample = func() (*inspect.Report, error) { return r, nil }
	return d.takeSample()
}

func TestAFailureToReadDropsIsShown(t *testing.T) {
	d := newDriver(t, Config{Drops: func() (*Drops, error) { return nil, errors.New("read drops: not now") }})
	d.send(d.takeSampleOf(newTestSample()))
	d.contains("read drops: not now")
}

func TestTheRingViewNamesThoseWhoLose(t *testing.T) {
	counted := NewDrops(&drops.Report{Rings: []drops.Ring{{ID: 12, Calls: 100, Failed: 7, FailedLow: 6, FailedHigh: 8, FailedBytes: 2048,
		Callers: []drops.Caller{{Name: "on\x1bexec", Counts: drops.Counts{Failed: 4}}, {Program: 9, Counts: drops.Counts{Failed: 2}},
			{Counts: drops.Counts{Failed: 1}}, {Name: "innocent", Counts: drops.Counts{Calls: 90}}}}}}, 0)
	w := &fakeWatch{}
	d := newDriver(t, Config{Drops: func() (*Drops, error) { return counted, nil }, Watch: func(ebpf.MapID) (Watch, error) { return w, nil }})
	d.send(d.takeSampleOf(newTestSample()))
	d.press("down", "enter")
	d.contains(`drops    7 (6 to 8) of 100 reservations failed, 2K: on\x1bexec 4, id:9 2,`, "         unknown 1")
}
