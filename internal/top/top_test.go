package top

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/rbtool/rbtool/inspect"
)

// ringSample is a ring in a sample.
func ringSample(id ebpf.MapID, name string, fill float64, rate float64, state inspect.State) inspect.MapSample {
	const size = 1 << 20
	return inspect.MapSample{
		Map: inspect.Map{ID: id, Name: name, Type: "ringbuf", Bytes: size,
			Positions: &inspect.Positions{Consumer: 1 << 30, Producer: 1<<30 + uint64(fill*size), Backlog: uint64(fill * size), Fill: fill}},
		Flow: &inspect.Flow{ProducedRate: rate, ConsumedRate: rate / 2, State: state, Rates: []float64{rate / 4, rate / 2, rate},
			HighWater: size / 2, Lag: inspect.Seconds(fill * float64(time.Minute))},
	}
}

func newTestSample() *inspect.Sample {
	events := ringSample(12, "events", 0.5, 3<<20, inspect.Flowing)
	events.Users = []inspect.User{
		{PID: 311, Comm: "agent", Consumes: true, Mapped: true, Holds: true, Exact: true, Home: inspect.Home{Unit: "agent.service"}},
		{PID: 1, Comm: "systemd", Holds: true, Exact: true},
	}
	events.Programs = []inspect.Program{{ID: 3, Name: "on_exec", Attached: []inspect.Attachment{{Type: "raw_tracepoint", Target: "sched_process_exec"}}}}
	events.Pins = []string{"/sys/fs/bpf/events"}
	stuck := ringSample(7, "audit", 1, 0, inspect.ConsumerStuck)
	stuck.Users = []inspect.User{{PID: 99, Comm: "auditor", Consumes: true, Exact: true}}
	stuck.Since = inspect.Seconds(90 * time.Second)
	return &inspect.Sample{
		Time: time.Date(2026, 11, 21, 15, 4, 5, 0, time.UTC),
		Maps: []inspect.MapSample{
			stuck,
			events,
			ringSample(30, "left", 0.1, 0, inspect.Unconsumed),
			{Map: inspect.Map{ID: 31, Name: "shared", Type: "arena", Bytes: 1 << 32, Place: &inspect.Place{UserBase: 1 << 44}}},
		},
	}
}

// driver is a Model without a terminal.
type driver struct {
	*Model
	t *testing.T
}

func newDriver(t *testing.T, cfg Config) driver {
	t.Helper()
	cfg.Interval = time.Second
	d := driver{NewModel(cfg), t}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24}, sampled{newTestSample(), nil})
	return d
}

// send hands over messages, and runs the commands that they give, but for
// timers.
func (d driver) send(msgs ...tea.Msg) {
	d.t.Helper()
	for _, msg := range msgs {
		if _, cmd := d.Update(msg); cmd != nil {
			if _, isSample := msg.(sampled); isSample {
				continue // the timer for the next one
			}
			if _, isNews := msg.(newsDue); isNews {
				continue
			}
			if _, isOpen := msg.(opened); isOpen {
				continue
			}
			d.send(cmd())
		}
	}
}

func (d driver) press(keys ...string) {
	d.t.Helper()
	special := map[string]tea.KeyType{"enter": tea.KeyEnter, "esc": tea.KeyEsc, "up": tea.KeyUp, "down": tea.KeyDown,
		"end": tea.KeyEnd, "home": tea.KeyHome, "backspace": tea.KeyBackspace, "pgdown": tea.KeyPgDown}
	for _, k := range keys {
		if typ, ok := special[k]; ok {
			d.send(tea.KeyMsg{Type: typ})
		} else {
			d.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)})
		}
	}
}

// lines are what the screen shows, without blanks at the ends of lines.
func (d driver) lines() []string {
	lines := strings.Split(d.View(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

func (d driver) expect(want ...string) {
	d.t.Helper()
	got := d.lines()
	if diff := gocmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
		d.t.Errorf("-want +got:\n%s", diff)
	}
}

func (d driver) contains(want ...string) {
	d.t.Helper()
	text := strings.Join(d.lines(), "\n")
	for _, w := range want {
		if !strings.Contains(text, w) {
			d.t.Errorf("%q is missing from\n%s", w, text)
		}
	}
}

func TestTheListAt80x24(t *testing.T) {
	d := newDriver(t, Config{})
	d.expect(
		"rbtool top  3 rings  3M/s  1 without positions  1 stuck  15:04:05",
		"     ID NAME            FILL        %  IN/S HISTORY    LAG STATE    OWNER",
		"      7 audit           ████████  100     -            60s CONSUMER auditor",
		"     12 events          ████       50    3M      ▃▅█   30s flowing  agent",
		"     30 left            ▊          10     -           6.0s nobody",
		"     31 shared                      -     -              - -",
		"",
	)
	lines := d.lines()
	if len(lines) != 24 || !strings.HasPrefix(lines[23], "enter look in") {
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
	d.contains("audit           ########  100", "events          ####")
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
		"audit left events shared", "audit events left shared", "audit events left shared"} {
		if got := names(d); got != want {
			t.Errorf("by %s: %s, want %s", orderNames[d.by], got, want)
		}
		d.press("s")
	}
	if d.by != byFill {
		t.Error("it does not come round")
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
	// Typed fast, all of it is one message; words may be in any column.
	d.press("/ARENA sh")
	if got := names(d); got != "shared" {
		t.Error(got)
	}
	d.press("backspace", "backspace", "backspace", "xyz", "enter")
	d.contains("nothing matches the filter")
	d.press("enter") // looks into nothing
	if d.view != listView {
		t.Error("it looked into something")
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
	sample.Maps[1].Fill = 1
	sample.Maps[0].Fill = 0
	d.send(sampled{sample, nil})
	if at() != "events" {
		t.Errorf("on %s after the order changed", at())
	}
	sample = newTestSample()
	sample.Maps = sample.Maps[:1]
	d.send(sampled{sample, nil})
	if at() != "audit" {
		t.Errorf("on %s after its ring went", at())
	}
	d.press("up", "up", "end", "home", "pgdown", "G", "g", "j", "k")
}

func TestManyRingsScroll(t *testing.T) {
	d := newDriver(t, Config{})
	sample := &inspect.Sample{}
	for i := range 100 {
		sample.Maps = append(sample.Maps, ringSample(ebpf.MapID(i+1), fmt.Sprintf("ring%02d", i), 0, 0, inspect.Idle))
	}
	d.send(sampled{sample, nil})
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

// fakeWatch is a ring's records as a test wants them.
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
		"records as they come, not consumed",
		"exec_event comm=sh",
		"evil ?[2J? text",
	)
	w.news = News{Records: 1000, LostBytes: 4096, Err: errors.New("map vanished")}
	d.press("p")
	d.send(newsDue{12})
	if d.records.total != 2 {
		t.Error("it goes on while paused")
	}
	d.press("p")
	d.send(newsDue{12})
	d.contains("4K came too fast to be read", "no more: map vanished")
	if d.records.perSec <= 0 {
		t.Errorf("%v records a second", d.records.perSec)
	}
	d.press("esc")
	if w.closed != 1 || d.view != listView {
		t.Errorf("closed %d times", w.closed)
	}
	d.send(newsDue{12}) // one that was under way
}

func TestARingThatCannotBeOpenedSaysWhy(t *testing.T) {
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return nil, errors.New("operation not permitted") }})
	d.press("enter")
	d.contains("no more: operation not permitted", "state    consumer_stuck for 90s")
}

func TestARingThatIsOpenedTooLateIsClosed(t *testing.T) {
	w := &fakeWatch{}
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return w, nil }})
	d.send(opened{id: 12, watch: w})
	if w.closed != 1 {
		t.Error("it stays open")
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
	d.send(sampled{&inspect.Sample{}, nil})
	d.contains("map 7 is gone")
	d.press("esc")
	d.contains("no ring buffer, user ring buffer or arena on this host")
}

func TestAFailureIsShownUntilItIsOver(t *testing.T) {
	d := newDriver(t, Config{})
	d.send(sampled{nil, errors.New("sample maps: not now")})
	d.contains("sample maps: not now", "audit")
	d.send(sampled{newTestSample(), nil})
	if strings.Contains(d.View(), "not now") {
		t.Error("it is still shown")
	}
}

func TestPause(t *testing.T) {
	d := newDriver(t, Config{})
	d.press("p")
	d.contains("paused")
	d.send(sampled{&inspect.Sample{}, nil})
	d.contains("audit")
	d.press("p")
	d.send(sampled{&inspect.Sample{}, nil})
	d.contains("no ring buffer")
}

func TestBeforeTheFirstSample(t *testing.T) {
	m := NewModel(Config{})
	if got := m.View(); got != "" {
		t.Errorf("without a size: %q", got)
	}
	d := driver{m, t}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	d.contains("looking...")
	d.press("enter", "down", "s", "/", "x", "enter", "?", "esc", "p")
}

// Whatever the size and the keys, the screen is no larger than the terminal.
func TestAnySize(t *testing.T) {
	keys := []string{"enter", "esc", "up", "down", "end", "home", "pgdown", "backspace", "s", "r", "/", "x", "?", "p", "q", "ab"}
	rng := rand.New(rand.NewPCG(1, 2))
	steps := 4000
	if testing.Short() {
		steps = 500
	}
	w := &fakeWatch{news: News{Lines: []string{strings.Repeat("wide 宽 ", 100)}, Records: 1}}
	d := newDriver(t, Config{Watch: func(ebpf.MapID) (Watch, error) { return w, nil }})
	for range steps {
		switch rng.IntN(6) {
		case 0:
			d.send(tea.WindowSizeMsg{Width: rng.IntN(200), Height: rng.IntN(60)})
		case 1:
			d.send(tea.WindowSizeMsg{Width: rng.IntN(3), Height: rng.IntN(3)})
		case 2:
			d.send(sampled{newTestSample(), nil})
		case 3:
			d.send(newsDue{d.watched})
		default:
			k := keys[rng.IntN(len(keys))]
			if k == "q" {
				continue // its command ends the program
			}
			d.press(k)
		}
		text := d.View()
		lines := strings.Split(text, "\n")
		if len(lines) > max(d.height, 1) {
			t.Fatalf("%d lines in a height of %d", len(lines), d.height)
		}
		for _, line := range lines {
			if runewidth.StringWidth(line) > d.width || !utf8.ValidString(line) {
				t.Fatalf("%d columns in a width of %d: %q", runewidth.StringWidth(line), d.width, line)
			}
		}
	}
}

// No column is cut off by the next one, at any width that has it.
func TestColumnsFit(t *testing.T) {
	for width := 47; width < 300; width++ {
		used := -1
		for _, c := range fit(width) {
			used += c.width + 1
		}
		if used > width {
			t.Errorf("%d columns in a width of %d", used, width)
		}
	}
}

func TestFillBar(t *testing.T) {
	for _, tt := range []struct {
		fill    float64
		unicode string
		ascii   string
	}{
		{0, "    ", "    "},
		{1e-9, "▏   ", "#   "}, // what is not empty shows
		{0.5, "██  ", "##  "},
		{0.53, "██▏ ", "##  "},
		{1, "████", "####"},
		{7, "████", "####"},
		{-1, "    ", "    "},
	} {
		if got := unicodeGlyphs.fillBar(tt.fill, 4); got != tt.unicode {
			t.Errorf("%v: %q, want %q", tt.fill, got, tt.unicode)
		}
		if got := asciiGlyphs.fillBar(tt.fill, 4); got != tt.ascii {
			t.Errorf("%v: %q, want %q", tt.fill, got, tt.ascii)
		}
	}
}

func TestSparkline(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   string
	}{
		{nil, "    "},
		{[]float64{0, 0}, "    "},
		{[]float64{1, 2, 4, 8}, "▂▃▅█"},
		{[]float64{9, 9, 0, 7, 7, 7}, " ███"},
		{[]float64{1, 1e12}, "  ▁█"},
	} {
		if got := unicodeGlyphs.sparkline(tt.values, 4); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.values, got, tt.want)
		}
	}
}

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"0": bytes(0), "999": bytes(999), "1K": bytes(1000), "1.5K": bytes(1536), "64K": bytes(65536), "16E": bytes(1 << 64),
		"-": rate(0), "3M/s": rate(3 << 20),
		"0/s": count(0) + "/s", "9.9": count(9.9), "10": count(9.96), "9950": "9950", "12k": count(12345), "15M": count(15e6),
		"--": ago(0) + "-", "5ms": ago(5 * time.Millisecond), "1.5s": ago(1500 * time.Millisecond), "90s": ago(90 * time.Second),
		"3m": ago(3 * time.Minute), "3h": ago(3 * time.Hour), "3d": ago(72 * time.Hour),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
