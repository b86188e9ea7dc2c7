package top

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
)

var update = flag.Bool("update", false, "rewrite the screens in docs/top.md")

const screensFile = "../../docs/top.md"

// screens are the screens in docs/top.md: what to press, on which host.
var screens = map[string]struct {
	ascii bool
	drops bool
	keys  []string
}{
	"list":            {},
	"drops":           {drops: true, keys: []string{"sss"}},
	"drops of a ring": {drops: true, keys: []string{"down", "down", "enter"}},
	"console":         {ascii: true},
	"help":            {keys: []string{"?"}},
	"ring":            {keys: []string{"down", "down", "enter"}},
	"sideways":        {keys: []string{"down", "down", "enter", "right"}},
	"wrapped":         {keys: []string{"down", "down", "enter", "w"}},
	"user ring":       {keys: []string{"/", "commands", "enter", "enter"}},
	"arena":           {keys: []string{"end", "enter"}},
}

// The screens in docs/top.md are those that the program draws.
func TestTheDocumentedScreens(t *testing.T) {
	text, err := os.ReadFile(screensFile)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- screen: ([a-z ]+), ([0-9]+) columns, ([0-9]+) lines -->\n```text\n(.*?)```\n")
	seen := map[string]bool{}
	now := block.ReplaceAllStringFunc(string(text), func(shown string) string {
		m := block.FindStringSubmatch(shown)
		scene, ok := screens[m[1]]
		if !ok {
			t.Fatalf("no screen %q", m[1])
		}
		seen[m[1]] = true
		width, _ := strconv.Atoi(m[2])
		height, _ := strconv.Atoi(m[3])
		w := &fakeWatch{news: documentedNews()}
		cfg := Config{ASCII: scene.ascii, Watch: func(ebpf.MapID) (Watch, error) { return w, nil }}
		sample := sampled{sample: documentedSample()}
		if scene.drops {
			sample.drops = documentedDrops()
			cfg.Drops = func() (*Drops, error) { return sample.drops, nil }
		}
		d := newDriver(t, cfg)
		d.send(tea.WindowSizeMsg{Width: width, Height: height}, sample)
		d.press(scene.keys...)
		if d.watch != nil {
			d.send(newsDue{d.watched})
			d.records.perSec = 1234
		}
		lines := d.lines()
		if len(lines) != height {
			t.Errorf("%s: %d lines", m[1], len(lines))
		}
		head, _, _ := strings.Cut(shown, "```text\n")
		return head + "```text\n" + strings.Join(lines, "\n") + "\n```\n"
	})
	for name := range screens {
		if !seen[name] {
			t.Errorf("%s does not show %q", screensFile, name)
		}
	}
	if *update {
		if err := os.WriteFile(screensFile, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := gocmp.Diff(strings.Split(string(text), "\n"), strings.Split(now, "\n")); diff != "" {
		t.Errorf("go test ./internal/top -update rewrites it; -documented +drawn:\n%s", diff)
	}
}

// documentedSample is a host with all that the screens can show.
func documentedSample() *inspect.Report {
	const container = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	events := ringSample(1207, "events", 0.52, 3<<20, inspect.Flowing)
	events.Flow.Rates = []float64{1, 2, 4, 3, 5, 6, 7, 8, 6, 5, 6, 7, 8, 8, 7, 6}
	events.Flow.HighWater = 1000 << 10
	events.Flow.Lag, events.Flow.Saturated = 300*time.Millisecond, 12*time.Second
	events.Users = []inspect.User{{PID: 4711, Comm: "agent", Consumes: true, Exact: true, Home: inspect.Home{Runtime: "docker", Container: container}}}
	for i, name := range []string{"on_exec", "on_exit"} {
		events.Programs = append(events.Programs, inspect.Program{ID: ebpf.ProgramID(301 + i), Name: name,
			Attached: []inspect.Attachment{{Type: "raw_tracepoint", Target: "sched_process_" + name[3:]}}})
	}
	events.Pins = []string{"/sys/fs/bpf/agent/events"}
	audit := ringSample(88, "audit", 1, 0, inspect.ConsumerStuck)
	audit.Flow.StuckFor, audit.Flow.Saturated, audit.Flow.Lag = 90*time.Second, 85*time.Second, 92*time.Second
	audit.Users = []inspect.User{{PID: 99, Comm: "auditor", Consumes: true, Exact: true}}
	recorder := ringSample(1300, "flight_recorder", 1, 40<<10, inspect.Unconsumed)
	at := uint64(1 << 29)
	recorder.Positions.Overwrite, recorder.Flow.Overwritten = &at, inspect.Total{Lo: 700 << 20}
	recorder.Users = []inspect.User{{PID: 500, Comm: "bpftrace", Holds: true}, {PID: 501, Comm: "collector", Holds: true}, {PID: 502, Comm: "shell", Holds: true}}
	commands := ringSample(1210, "commands", 0, 0, inspect.Idle)
	commands.Type = ebpf.UserRingbuf
	commands.Flow.Lag, commands.Flow.HighWater = 0, 4096
	commands.Flow.Refused = &inspect.Refused{Samples: 20, Bytes: 3072, Full: 40 * time.Millisecond}
	commands.Users = []inspect.User{{PID: 4711, Comm: "agent", Produces: true, Exact: true, Home: inspect.Home{Unit: "agent.service"}}}
	return &inspect.Report{
		Time: time.Date(2026, 11, 21, 15, 4, 5, 0, time.UTC),
		Maps: []inspect.Map{audit, events, commands, recorder, {ID: 1400, Name: "table", Type: ebpf.Arena, Bytes: 4 << 20, Memory: 256 << 10, Arena: &inspect.Arena{UserBase: 1 << 44}}},
	}
}

func documentedDrops() *Drops {
	return NewDrops(&drops.Report{Rings: []drops.Ring{
		{ID: 88, Calls: 91204, Failed: 91204, FailedLow: 91204, FailedHigh: 91204, FailedBytes: 91204 * 64},
		{ID: 1207, Calls: 530114, Failed: 4312, FailedLow: 4310, FailedHigh: 4316, FailedBytes: 4312 * 136, Callers: []drops.Caller{
			{Name: "on_exit", Counts: drops.Counts{Calls: 300021, Failed: 4300}},
			{Name: "on_exec", Counts: drops.Counts{Calls: 230093, Failed: 12}},
		}},
	}}, 0)
}

func documentedNews() News {
	news := News{Records: 40}
	for i := range 40 {
		news.Lines = append(news.Lines, fmt.Sprintf(`15:04:04.%06d exec_event pid=%d ppid=4711 uid=1000(alice) comm="make" file="/usr/bin/gcc" ret=0 cgroup=/user.slice`, 1000+25000*i, 5000+i))
	}
	return news
}
