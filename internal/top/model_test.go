package top

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/cilium/ebpf"
	"github.com/mattn/go-runewidth"

	"github.com/rbtool/rbtool/inspect"
)

func TestAFailureIsShownUntilItIsOver(t *testing.T) {
	d := newDriver(t, Config{})
	d.send(sampled{err: errors.New("sample maps: not now")})
	d.contains("sample maps: not now", "audit")
	d.send(sampled{sample: newTestSample()})
	if strings.Contains(d.View(), "not now") {
		t.Error("the error is still shown")
	}
}

func TestPause(t *testing.T) {
	d := newDriver(t, Config{})
	d.press("p")
	d.contains("paused")
	d.send(sampled{sample: &inspect.Report{}})
	d.contains("audit")
	d.press("p")
	d.send(sampled{sample: &inspect.Report{}})
	d.contains("no ring buffer")
}

func TestBeforeTheFirstSample(t *testing.T) {
	m := NewModel(Config{})
	if got := m.View().Content; got != "" {
		t.Errorf("without a size: %q", got)
	}
	d := driver{m, t}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	d.contains("sampling...")
	d.press("enter", "down", "s", "/", "x", "enter", "?", "esc", "p")
}

// The screen fits the terminal, whatever its size and whichever keys are pressed.
func TestAnySize(t *testing.T) {
	keys := []string{"left", "right", "w", "enter", "esc", "up", "down", "end", "home", "pgdown", "backspace", "s", "r", "/", "x", "?", "p", "q", "ab"}
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
			d.send(sampled{sample: newTestSample()})
		case 3:
			d.send(newsDue{d.watched})
		default:
			k := keys[rng.IntN(len(keys))]
			if k == "q" {
				continue // this key ends the program
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

func TestTheHelpScrollsOnASmallScreen(t *testing.T) {
	d := newDriver(t, Config{})
	d.press("?")
	if strings.Contains(d.View(), "up down scroll") {
		t.Error("the help does not fit 80x24")
	}
	d.send(tea.WindowSizeMsg{Width: 40, Height: 8})
	d.contains("rbtool top: consumes no records", "up down scroll")
	d.press("end")
	d.contains("WRONG: bad", "? back")
	d.press("home", "down")
	if text := d.View(); strings.Contains(text, "consumes no records") || !strings.Contains(text, "enter right") {
		t.Errorf("got\n%s", text)
	}
	d.press("esc")
	if d.view != listView {
		t.Error("esc does not leave the help")
	}
}
