package top

import (
	"fmt"
	"math"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/mattn/go-runewidth"

	"github.com/rbtool/rbtool/internal/escape"
)

// glyphs are the characters from which bars and sparklines are drawn.
type glyphs struct {
	bar   []rune // a cell of a bar, from empty to full
	spark []rune // a cell of a sparkline, from low to high
	more  string // is put where text was truncated
}

var (
	unicodeGlyphs = glyphs{[]rune(" ▏▎▍▌▋▊▉█"), []rune("▁▂▃▄▅▆▇█"), "…"}
	asciiGlyphs   = glyphs{[]rune(" #"), []rune("_.-:=+*#"), "~"}
)

// fillBar draws fill, from 0 to 1, as a bar of width cells. A fill above 0 is never drawn as empty.
func (g glyphs) fillBar(fill float64, width int) string {
	steps := len(g.bar) - 1
	n := int(math.Round(min(max(fill, 0), 1) * float64(width*steps)))
	if n == 0 && fill > 0 {
		n = 1
	}
	var b strings.Builder
	for range width {
		b.WriteRune(g.bar[min(n, steps)])
		n = max(n-steps, 0)
	}
	return b.String()
}

// sparkline draws the last width values, scaled to the greatest of them.
func (g glyphs) sparkline(values []float64, width int) string {
	values = values[max(len(values)-width, 0):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		switch {
		case v <= 0:
			b.WriteByte(' ')
		default:
			b.WriteRune(g.spark[int(math.Round(v/highest*float64(len(g.spark)-1)))])
		}
	}
	return b.String()
}

// cell escapes s and pads or truncates it to width columns. If right is set, it aligns s on the right.
func (g glyphs) cell(s string, width int, right bool) string {
	s = escape.String(s)
	if runewidth.StringWidth(s) > width {
		s = runewidth.Truncate(s, width, g.more)
	}
	pad := strings.Repeat(" ", width-runewidth.StringWidth(s))
	if right {
		return pad + s
	}
	return s + pad
}

// span is text in one style. The text may be untrusted: only render escapes it.
type span struct {
	style lipgloss.Style
	text  string
}

// line is a line of the screen.
type line []span

// plain returns a line without a style.
func plain(text string) line { return line{{text: text}} }

// styled returns a line in one style.
func styled(style lipgloss.Style, text string) line { return line{{style, text}} }

// add returns the line with text appended.
func (l line) add(style lipgloss.Style, text string) line { return append(l, span{style, text}) }

// render joins lines for a terminal, and cuts them to the size of the screen. It escapes their
// text: all escape sequences in the result are from styles.
func (g glyphs) render(lines []line, width, height int) string {
	if width <= 0 || height <= 0 {
		return ""
	}
	var rendered []string
	for _, l := range lines[:min(len(lines), height)] {
		var b strings.Builder
		left := width
		for _, s := range l {
			text := g.window(s.text, 0, left)
			b.WriteString(s.style.Render(text))
			if left -= runewidth.StringWidth(text); left <= 0 {
				break
			}
		}
		rendered = append(rendered, b.String())
	}
	return strings.Join(rendered, "\n")
}

// bytes formats a number of bytes with a binary unit and at most three digits.
func bytes(n float64) string {
	units := []string{"", "K", "M", "G", "T", "P", "E"}
	i := 0
	for n >= 999.5 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i > 0 && n < 9.95 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0") + units[i]
	}
	return fmt.Sprintf("%.0f%s", n, units[i])
}

// rate formats a number of bytes per second. It returns "-" for 0.
func rate(n float64) string {
	if n <= 0 {
		return "-"
	}
	return bytes(n) + "/s"
}

// count formats a number of records per second.
func count(n float64) string {
	switch {
	case n >= 9.95e6:
		return fmt.Sprintf("%.0fM", n/1e6)
	case n >= 9950:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n >= 9.95 || n == 0:
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}

// ago formats a duration of up to 99 days in at most five columns.
func ago(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0fh", d.Hours())
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}
