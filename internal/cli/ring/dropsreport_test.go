package ring

import (
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
)

// counted returns a report of a ring and a user ring buffer, of whose records this many were refused.
func counted(at time.Time, tried, failed uint64) *lossReport {
	counts := drops.Counts{Calls: tried, Failed: failed, FailedBytes: 24 * failed}
	return &lossReport{from: time.Unix(1000, 0), to: at, rings: []lossOf{
		{
			lossRing: &lossRing{id: 7, name: "app/events", typ: ebpf.RingBuf, size: 4096, flow: &inspect.Flow{HighWater: 4080}},
			full:     at.Sub(time.Unix(1000, 0)) / 2,
			counts: &drops.Ring{
				ID: 7, Calls: tried, Failed: failed, FailedLow: failed - min(2, failed), FailedHigh: failed + 2, FailedBytes: 24 * failed,
				Callers: []drops.Caller{{Counts: counts, Program: 34, Name: "handle_exec", Loaded: true, Attached: []inspect.Attachment{{Type: "raw_tracepoint", Target: "sched_process_exec"}}}},
				CPUs:    []drops.CPU{{Counts: counts, CPU: 1}, {Counts: drops.Counts{Calls: 5}, CPU: 2}},
				Sizes:   []drops.Size{{Counts: counts, Min: 16, Max: 16}, {Counts: counts, Min: 17, Max: 24}},
			},
		},
		{lossRing: &lossRing{id: 8, name: "commands", typ: ebpf.UserRingbuf, size: 4096}, refused: &inspect.Refused{Samples: failed, Bytes: 8 * failed}},
	}}
}

func TestAnIntervalHasWhatCameInIt(t *testing.T) {
	before, now := counted(time.Unix(1010, 0), 1000, 300), counted(time.Unix(1011, 0), 1500, 700)
	d := now.since(before)
	r, user := d.rings[0], d.rings[1]
	if c := r.counts; c.Calls != 500 || c.Failed != 400 || c.FailedLow != 398 || c.FailedHigh != 402 || c.FailedBytes != 9600 ||
		len(c.Callers) != 1 || c.Callers[0].Failed != 400 || c.Callers[0].Calls != 500 {
		t.Errorf("%+v", c)
	}
	if r.full != time.Second/2 || user.refused.Samples != 400 || user.refused.Bytes != 3200 || !d.from.Equal(before.to) {
		t.Errorf("full for %v; %+v; from %v", r.full, user.refused, d.from)
	}
	if quiet := now.since(now); len(quiet.rings[0].counts.Callers) != 0 || quiet.rings[0].counts.FailedLow != 0 {
		t.Errorf("an interval in which nothing came: %+v", quiet.rings[0].counts)
	}
}

func TestLossTable(t *testing.T) {
	report := counted(time.Unix(1010, 0), 12000, 300)
	join := func(rows [][]string) (text string) {
		for _, row := range rows {
			text += strings.Join(row, "|") + "\n"
		}
		return text
	}
	for _, tt := range []struct {
		name, got, want string
	}{
		{"for people", join(lossTable(report, false, false)), "ID|TYPE|RING|SIZE|TRIED|LOST|LOST%|REFUSED|HIGHWATER|FULL\n" +
			"7|ringbuf|app/events|4KiB|12,000|300 (±2)|2.5|7.031KiB|3.984KiB|50%\n8|user_ringbuf|commands|4KiB|-|300|-|2.344KiB|-|0%\n"},
		{"for programs", join(lossTable(report, true, false)), "TIME|ID|TYPE|RING|SIZE|TRIED|LOST|SHARE|REFUSED|HIGHWATER|FULL\n" +
			"1970-01-01T00:16:50Z|7|ringbuf|app/events|4096|12000|300|2.5000|7200|4080|5.000\n1970-01-01T00:16:50Z|8|user_ringbuf|commands|4096||300||2400||0.000\n"},
		{"details", join(lossDetails(report.rings[0].counts)), "BY|TRIED|LOST|LOST%|REFUSED\n" +
			"program 34 handle_exec (raw_tracepoint sched_process_exec)|12,000|300|2.5|7.031KiB\nCPU 1|12,000|300|2.5|7.031KiB\n" +
			"records of 16 bytes|12,000|300|2.5|7.031KiB\nrecords of 17 to 24 bytes|12,000|300|2.5|7.031KiB\n"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, tt.got, tt.want)
		}
	}
	uneven := lossStyle{}.bounded(&drops.Ring{Failed: 123, FailedLow: 120, FailedHigh: 1300})
	if want := "123 (120..1,300)"; uneven != want {
		t.Errorf("%s, want %s", uneven, want)
	}
}

func TestColumnsOfLaterTablesLineUp(t *testing.T) {
	p := lossPrinter{}
	p.pad([][]string{{"ID", "RING", "LOST"}, {"7", "events", "1,000"}})
	later := [][]string{{"ID", "RING", "LOST"}, {"8", "r", "2"}} // only its second row is printed
	p.pad(later)
	if got, want := strings.Join(later[1], "|"), "8 |r     |2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
