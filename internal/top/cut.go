package top

import (
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/rbtool/rbtool/internal/escape"
)

// field is a part of a text that is shown whole, if it fits, or not at all: a word or key=value, in which quotes can
// keep blanks.
type field struct {
	text       string
	start, end int // columns of the whole text
}

// fields splits a text, which must be escaped, at blanks outside of quotes.
func fields(text string) []field {
	var list []field
	begin, column, quoted := -1, 0, false
	add := func(end int) {
		if begin >= 0 {
			width := runewidth.StringWidth(text[begin:end])
			list = append(list, field{text[begin:end], column, column + width})
			column += width
			begin = -1
		}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ' && !quoted:
			add(i)
			column++
			continue
		case c == '\\' && quoted:
			i++ // the next character is escaped
		case c == '"':
			quoted = !quoted
		}
		if begin < 0 {
			begin = i
		}
	}
	add(len(text))
	return list
}

// window escapes a text and returns its columns from the given one on, at most width. It cuts no field, unless that is wider
// than the window. Marks at the ends stand for what is outside.
func (g glyphs) window(text string, from, width int) string {
	text = escape.String(text)
	if from == 0 && runewidth.StringWidth(text) <= width {
		return text
	}
	list := fields(text)
	to := from + width
	mark := runewidth.StringWidth(g.more) + 1 // and a blank
	before, after := "", ""
	left, right := from, to
	if len(list) > 0 && list[0].start < from {
		before, left = g.more, from+mark
	}
	if len(list) > 0 && list[len(list)-1].end > to {
		after, right = g.more, to-mark
	}
	b := []byte(before)
	at := from + runewidth.StringWidth(before)
	put := func(column int, s string) {
		b = append(b, strings.Repeat(" ", max(column-at, 0))...)
		b = append(b, s...)
		at = max(at, column) + runewidth.StringWidth(s)
	}
	for _, f := range list {
		switch {
		case f.end <= left || f.start >= right:
		case f.start >= left && f.end <= right:
			put(f.start, f.text)
		case f.end-f.start > max(width-2*mark-sideways, width/2) && right > left: // it may not be whole at any step
			put(max(f.start, left), slice(f.text, left-f.start, right-f.start))
		}
	}
	if after != "" {
		put(to-runewidth.StringWidth(after), after)
	}
	return runewidth.Truncate(string(b), width, "")
}

// slice returns the columns of a text from one, which can be before its begin, to another, which can be after its end.
func slice(text string, from, to int) string {
	text = runewidth.Truncate(text, to, "")
	if from > 0 {
		text = runewidth.TruncateLeft(text, from, "")
	}
	return text
}

// wrap escapes a text and breaks it into lines of at most width columns. All lines but the first are indented. It breaks
// fields only if they are wider than a line.
func wrap(text string, indent, width int) []string {
	text = escape.String(text)
	if width <= 0 || runewidth.StringWidth(text) <= width {
		return []string{text}
	}
	indent = min(indent, width/2)
	var lines []string
	line, used, fresh := "", 0, true // fresh: the line has no field yet
	next := func() {
		lines = append(lines, line)
		line, used, fresh = strings.Repeat(" ", indent), indent, true
	}
	end := 0 // the column at which the previous field ended
	for _, f := range fields(text) {
		gap := f.start - end
		end = f.end
		if !fresh && used+gap+f.end-f.start > width {
			next()
		}
		if !fresh || len(lines) == 0 {
			gap = min(gap, width-used)
			line, used = line+strings.Repeat(" ", gap), used+gap
		}
		rest := f.text
		for runewidth.StringWidth(rest) > width-used {
			part := runewidth.Truncate(rest, width-used, "")
			if part == "" && fresh {
				rest = "" // a character that is wider than a line
				break
			}
			line, rest = line+part, rest[len(part):]
			next()
		}
		line, used, fresh = line+rest, used+runewidth.StringWidth(rest), false
	}
	return append(lines, line)
}
