package srcline

import (
	"fmt"
	"strings"
	"testing"
)

func TestRecentLines(t *testing.T) {
	var c cache
	if c.find("x") != nil {
		t.Error("an empty cache has a line")
	}
	l := &Line{}
	c.add("x", l)
	if c.find("x") != l {
		t.Error("a line is not kept")
	}
	for i := range maxRecent / 64 {
		c.add(fmt.Sprintf("%064d", i), &Line{})
	}
	if c.find("x") != nil || c.size > maxRecent || len(c.lines) > maxRecent/64 {
		t.Errorf("%d lines of %d bytes are kept", len(c.lines), c.size)
	}
}

// Of a long line only the beginning is read, once.
func TestLongLines(t *testing.T) {
	line := "e->pid = 1; " + strings.Repeat(" ", MaxLen)
	if first := Parse(line + "e->a = 2;"); first != Parse(line+"e->b = 3;") || len(first.Assigns) != 1 {
		t.Errorf("%+v", first)
	}
}
