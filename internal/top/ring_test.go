package top

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/mattn/go-runewidth"

	"github.com/rbtool/rbtool/inspect"
)

// fakeWatch is a Watch that returns the news that a test has set.
type fakeWatch struct {
	news   News
	closed int
}

func (w *fakeWatch) News() News   { return w.news }
func (w *fakeWatch) Close() error { w.closed++; return nil }

func TestLookingIntoARing(t *testing.T) {
	w := &fakeWatch{news: News{Lines: []string{"exec_event comm=sh", "evil \x1b[2J\x07 text"}, Records: 2}}
	var asked ebpf.MapID
	d := newDriver(t, Config{Watch: func(id ebpf.MapID) (Watch, error) { asked = id; return w, nil }})
	d.press("down", "enter")
	if asked != 12 {
		t.Fatalf("ring %d was opened", asked)
	}
	d.send(newsDue{12})
	d.expect(
		"events  id 12  ringbuf  1M",
		"fill     ████████         50.0%   backlog 512K   high 512K   full for -",
		"flow     in 3M/s   out 1.5M/s   0 records/s                    ▃▅█",
		"state    flowing   lag 30s",
		"at       consumer 1073741824   producer 1074266112",
		"owner    agent (311) consumes, in agent.service",
		"owner    systemd (1) holds it",
		"program  on_exec (id 3) at raw_tracepoint sched_process_exec",
		"pin      /sys/fs/bpf/events",
		"live records, not consumed",
		"exec_event comm=sh",
		`evil \x1b[2J\a text`,
	)
	w.news = News{Records: 1000, LostBytes: 4096, Err: errors.New("map vanished")}
	d.press("p")
	d.send(newsDue{12})
	if d.records.total != 2 {
		t.Error("news is taken while paused")
	}
	d.press("p")
	d.send(newsDue{12})
	d.contains("4K lost: too fast to read", "stopped: map vanished")
	if d.records.perSec <= 0 {
		t.Errorf("%v records a second", d.records.perSec)
	}
	d.press("esc")
	if w.closed != 1 || d.view != listView {
		t.Errorf("closed %d times", w.closed)
	}
	d.send(newsDue{12}) // was scheduled while the ring was open
}

func TestARingThatCannotBeOpenedSaysWhy(t *testing.T) {
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return nil, errors.New("operation not permitted") }})
	d.press("enter")
	d.contains("stopped: operation not permitted", "state    consumer_stuck for 90s")
}

func TestARingThatIsOpenedTooLateIsClosed(t *testing.T) {
	w := &fakeWatch{}
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return w, nil }})
	d.send(opened{id: 12, watch: w})
	if w.closed != 1 {
		t.Error("the ring stays open")
	}
}

func TestARingWithoutRecordsSaysSo(t *testing.T) {
	d := newDriver(t, Config{})
	d.view, d.watched = ringView, 12
	d.contains("finding out what its records are...")
	d.send(opened{id: 12, watch: &fakeWatch{}})
	d.contains("no record yet")
}

func TestAnArenaHasNoRecords(t *testing.T) {
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { t.Error("it was opened"); return nil, nil }})
	d.press("end", "enter")
	d.contains("shared  id 31  arena  4G", "address  0x100000000000")
}

func TestARingThatGoesWhileItIsLookedInto(t *testing.T) {
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return &fakeWatch{}, nil }})
	d.press("enter")
	d.send(sampled{sample: &inspect.Report{}})
	d.contains("map 7 is gone")
	d.press("esc")
	d.contains("no ring buffer, user ring buffer or arena on this host")
}

// scrollingDriver shows 500 records, the latest of which has the number 499, at 80x24. Below the title are 18 of them.
func scrollingDriver(t *testing.T) driver {
	t.Helper()
	w := &fakeWatch{}
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return w, nil }})
	d.press("end", "up", "enter")
	for i := range 500 {
		w.news.Lines = append(w.news.Lines, fmt.Sprintf(`n=%03d comm="a b" file="/usr/lib/a/long/path/of/a/program" cwd="/home/somebody" ret=0 last=%d`, i, i))
	}
	d.send(newsDue{d.watched})
	w.news.Lines = nil
	return d
}

func TestRecordsScrollSideways(t *testing.T) {
	d := scrollingDriver(t)
	d.contains(`n=499 comm="a b" file="/usr/lib/a/long/path/of/a/program" cwd="/home/somebody" …`)
	d.press("right")
	d.contains(strings.Repeat(" ", 40)+`cwd="/home/somebody" ret=0 last=499`, "columns 17 to 93 of 93")
	d.press("right", "right", "right") // no farther than the end
	d.contains(`last=499`, "columns 17 to 93 of 93")
	d.press("left", "left")
	d.contains("n=499 comm")
	d.press("right", "w")
	d.contains(`n=499 comm="a b" file="/usr/lib/a/long/path/of/a/program" cwd="/home/somebody"` + "\n    ret=0 last=499")
	if strings.Contains(d.View(), "columns") {
		t.Error("wrapped records do not scroll sideways")
	}
}

func TestRecordsScrollBack(t *testing.T) {
	d := scrollingDriver(t)
	last := func() string {
		lines := d.lines()
		for i := len(lines) - 2; i > 0; i-- {
			if lines[i] != "" {
				return lines[i][:5]
			}
		}
		return ""
	}
	d.press("up", "up")
	if got := last(); got != "n=497" {
		t.Errorf("the last record is %s", got)
	}
	d.contains("2 newer below")
	// New records do not move those on the screen.
	w := d.watch.(*fakeWatch)
	w.news.Lines = []string{"n=500", "n=501"}
	d.send(newsDue{d.watched})
	w.news.Lines = nil
	if got := last(); got != "n=497" {
		t.Errorf("after news the last record is %s", got)
	}
	d.contains("4 newer below")
	d.press("home")
	d.contains("\nn=002") // 500 are kept
	d.press("end")
	if got := last(); got != "n=501" {
		t.Errorf("the last record is %s", got)
	}
}

// With the largest numbers nothing is cut at 80 columns.
func TestTheWidestFlowFits(t *testing.T) {
	d := newDriver(t, Config{})
	sample := newTestSample()
	m := &sample.Maps[0]
	most := uint64(math.MaxUint64)
	m.Positions = &inspect.Positions{Consumer: most, Producer: most, Overwrite: &most, Backlog: 1023 << 20, Fill: 1, Busy: &inspect.Busy{Pos: most, Len: 1<<30 - 1}}
	m.Flow = &inspect.Flow{ProducedRate: 999 << 30, ConsumedRate: 999 << 30, HighWater: 1023 << 20, Saturated: 119 * time.Second, LagAtLeast: true,
		Lag: 119 * time.Second, State: inspect.ConsumerStuck, StuckFor: 119 * time.Second, Overwritten: inspect.Total{Hi: most, Lo: most}, Rates: make([]float64, 128)}
	for i := range m.Flow.Rates {
		m.Flow.Rates[i] = 1
	}
	d.records.perSec = 99e6
	for _, l := range d.flowLines(m) {
		text := ""
		for _, s := range l {
			text += s.text
		}
		if n := runewidth.StringWidth(text); n > 80 {
			t.Errorf("%d columns: %s", n, text)
		}
	}
}

func TestARingThatIsOpenAtFirst(t *testing.T) {
	d := newDriver(t, Config{Open: 12, Sort: "id", Watch: func(ebpf.MapID) (Watch, error) { return &fakeWatch{}, nil }})
	d.contains("events  id 12")
	d.press("esc")
	d.send(sampled{sample: newTestSample()}) // only once
	d.expect("rbtool top  3 rings  3M/s  1 arena  1 stuck  15:04:05")
	d.contains("sort (id)")
	if list := d.rows(); list[d.index(list)].ID != 12 {
		t.Error("it is not selected")
	}
	d = newDriver(t, Config{Open: 99}) // it is gone, or it comes later
	d.contains("rbtool top  3 rings")
}
