package top

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/inspect"
)

// ringSample returns a ring as it is in a sample.
func ringSample(id ebpf.MapID, name string, fill float64, rate float64, state inspect.State) inspect.Map {
	const size = 1 << 20
	return inspect.Map{
		ID: id, Name: name, Type: ebpf.RingBuf, Bytes: size,
		Positions: &inspect.Positions{Consumer: 1 << 30, Producer: 1<<30 + uint64(fill*size), Backlog: uint64(fill * size), Fill: fill},
		Flow: &inspect.Flow{ProducedRate: rate, ConsumedRate: rate / 2, State: state, Rates: []float64{rate / 4, rate / 2, rate},
			HighWater: size / 2, Lag: time.Duration(fill * float64(time.Minute))},
	}
}

func newTestSample() *inspect.Report {
	events := ringSample(12, "events", 0.5, 3<<20, inspect.Flowing)
	events.Users = []inspect.User{
		{PID: 311, Comm: "agent", Consumes: true, Mapped: true, Holds: true, Exact: true, Home: inspect.Home{Unit: "agent.service"}},
		{PID: 1, Comm: "systemd", Holds: true, Exact: true},
	}
	events.Programs = []inspect.Program{{ID: 3, Name: "on_exec", Attached: []inspect.Attachment{{Type: "raw_tracepoint", Target: "sched_process_exec"}}}}
	events.Pins = []string{"/sys/fs/bpf/events"}
	stuck := ringSample(7, "audit", 1, 0, inspect.ConsumerStuck)
	stuck.Users = []inspect.User{{PID: 99, Comm: "auditor", Consumes: true, Exact: true}}
	stuck.Flow.StuckFor = 90 * time.Second
	return &inspect.Report{
		Time: time.Date(2026, 11, 21, 15, 4, 5, 0, time.UTC),
		Maps: []inspect.Map{
			stuck,
			events,
			ringSample(30, "left", 0.1, 0, inspect.Unconsumed),
			{ID: 31, Name: "shared", Type: ebpf.Arena, Bytes: 1 << 32, Arena: &inspect.Arena{UserBase: 1 << 44}},
		},
	}
}

// driver runs a Model without a terminal.
type driver struct {
	*Model
	t *testing.T
}

func newDriver(t *testing.T, cfg Config) driver {
	t.Helper()
	cfg.Interval = time.Second
	d := driver{NewModel(cfg), t}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24}, sampled{sample: newTestSample()})
	return d
}

// send sends messages to the Model and runs the commands that it returns, except timers.
func (d driver) send(msgs ...tea.Msg) {
	d.t.Helper()
	for _, msg := range msgs {
		if _, cmd := d.Update(msg); cmd != nil {
			if _, isSample := msg.(sampled); isSample {
				continue // the timer for the next sample
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

// press presses keys. Each argument is the name of a key, or a word whose letters are the keys.
func (d driver) press(keys ...string) {
	d.t.Helper()
	named := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft, "right": tea.KeyRight,
		"end": tea.KeyEnd, "home": tea.KeyHome, "backspace": tea.KeyBackspace, "pgdown": tea.KeyPgDown}
	for _, k := range keys {
		if code, ok := named[k]; ok {
			d.send(tea.KeyPressMsg{Code: code})
			continue
		}
		for _, r := range k {
			d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

// View returns the screen without styles.
func (d driver) View() string { return ansi.Strip(d.content()) }

// lines returns the lines of the screen without trailing blanks.
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
