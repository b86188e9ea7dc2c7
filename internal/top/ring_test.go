package top

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

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
		"fill     ██████████           50.0%   backlog 512K   high 512K   full for -",
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

func TestAnArenaHasNoRecords(t *testing.T) {
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { t.Error("it was opened"); return nil, nil }})
	d.press("end", "enter")
	d.contains("shared  id 31  arena  4G", "address  0x100000000000")
}

func TestARingThatGoesWhileItIsLookedInto(t *testing.T) {
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return &fakeWatch{}, nil }})
	d.press("enter")
	d.send(sampled{&inspect.Report{}, nil})
	d.contains("map 7 is gone")
	d.press("esc")
	d.contains("no ring buffer, user ring buffer or arena on this host")
}
