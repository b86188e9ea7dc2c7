package top

import (
	"strings"
	"testing"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"
)

func TestWindow(t *testing.T) {
	const text = `exec pid=12 comm="a b" file="/bin/true" ret=0`
	for _, tt := range []struct {
		from, width int
		want        string
	}{
		{0, 45, text},
		{0, 60, text},
		{0, 44, `exec pid=12 comm="a b" file="/bin/true"    …`},
		{0, 25, `exec pid=12 comm="a b"  …`},
		{0, 22, `exec pid=12          …`},    // the quotes keep their blank
		{5, 25, `…      comm="a b" file= …`}, // the file is wider than half of the window
		{5, 40, `…      comm="a b" file="/bin/true" ret=0`},
		{13, 34, `…         file="/bin/true" ret=0`},
		{60, 20, `…`},
	} {
		if got := unicodeGlyphs.window(text, tt.from, tt.width); got != tt.want {
			t.Errorf("%d columns from %d: %q, want %q", tt.width, tt.from, got, tt.want)
		}
	}
	// A field that is wider than the window is cut.
	if got, want := unicodeGlyphs.window("data="+strings.Repeat("0123456789", 10), 10, 20), "… 7890123456789012 …"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := asciiGlyphs.window("a\x1b[2J bbbbbb", 0, 10); got != `a\x1b[2J ~` {
		t.Errorf("got %q", got)
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text   string
		indent int
		width  int
		want   []string
	}{
		{"  s S   sort by fill, rate", 8, 40, []string{"  s S   sort by fill, rate"}},
		{"  s S   sort by fill, rate", 8, 20, []string{"  s S   sort by", "        fill, rate"}},
		{"0123456789", 2, 6, []string{"012345", "  6789"}},
		{"ab 0123456789", 2, 6, []string{"ab", "  0123", "  4567", "  89"}},
		{`a="b c" d`, 0, 5, []string{`a="b `, `c" d`}},
		{"", 4, 10, []string{""}},
		{"ab\x07cd", 0, 4, []string{`ab\a`, "cd"}},
	} {
		if diff := gocmp.Diff(tt.want, wrap(tt.text, tt.indent, tt.width)); diff != "" {
			t.Errorf("%q: -want +got:\n%s", tt.text, diff)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add(`exec pid=12 comm="a b" file="/bin/true" ret=0`, uint16(3), uint16(12))
	f.Add("宽宽宽 e\u0301 \U0001F468\u200D\U0001F469 \"unclosed \\", uint16(1), uint16(1))
	f.Add(strings.Repeat("0123456789", 30), uint16(100), uint16(80))
	f.Fuzz(func(t *testing.T, text string, from, width uint16) {
		text = text[:min(len(text), 1000)] // Go minimizes long inputs for minutes
		from, width = from%400, width%300+1
		for _, g := range []glyphs{unicodeGlyphs, asciiGlyphs} {
			if got := g.window(text, int(from), int(width)); runewidth.StringWidth(got) > int(width) || !utf8.ValidString(got) {
				t.Errorf("%d columns from %d: %q", width, from, got)
			}
		}
		lines := wrap(text, int(from), int(width))
		for _, line := range lines {
			if runewidth.StringWidth(line) > int(width) || !utf8.ValidString(line) {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		if len(lines) > len(text)*16+1 {
			t.Errorf("%d lines of %d bytes", len(lines), len(text))
		}
	})
}
