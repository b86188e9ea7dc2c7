package reconstruct

import (
	"regexp"
	"strings"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// Locals reads what source lines say of local variables. Its work is bounded.
type Locals struct {
	lines func(fn string) []string // the lines of a function
	left  int                      // bytes that can still be searched
	known map[stored]decode.Meaning
}

// stored is the value of a write, as its line has it.
type stored struct {
	fn, value string
	size      int64
}

// NewLocals returns the Locals of a program. lines returns the lines of a function.
func NewLocals(lines func(fn string) []string) *Locals {
	return &Locals{lines, 16 << 20, map[stored]decode.Meaning{}}
}

// Meaning returns what the lines of w's function say of the local variable that w stores as it is or with its bytes
// swapped. All lines that set the variable, but those that set it to a constant, must say the same.
func (l *Locals) Meaning(w *recordflow.Write) decode.Meaning {
	if w.Size != 2 && w.Size != 4 || w.Constant || l.left < 0 {
		return decode.NoMeaning
	}
	v := stored{w.Func, valueOf(w), w.Size}
	m, ok := l.known[v]
	if !ok {
		m = l.meaning(v)
		l.known[v] = m
	}
	return m
}

// meaning is [Locals.Meaning] for a value.
func (l *Locals) meaning(v stored) decode.Meaning {
	found := localValue.FindStringSubmatch(v.value)
	if found == nil {
		return decode.NoMeaning
	}
	swapped, name := found[1] != "", found[2]
	m := decode.NoMeaning
	for _, line := range l.lines(v.fn) {
		if l.left -= len(line); l.left < 0 {
			return decode.NoMeaning
		}
		if !strings.Contains(line, name) {
			continue
		}
		l.left -= parseCost * len(line)
		for _, value := range valuesOf(name, line) {
			of := valueMeaning(value, v.size)
			if of == decode.NoMeaning || m != decode.NoMeaning && m != of {
				return decode.NoMeaning
			}
			m = of
		}
	}
	if swapped {
		return swap(m)
	}
	return m
}

// parseCost is how many times longer it takes to read a line than to search it.
const parseCost = 16

var (
	localValue = regexp.MustCompile(`^\s*(?:((?:__)?(?:bpf_)?(?:ntoh|hton)[sl])\(\s*)?([A-Za-z_]\w*)\s*\)?\s*[,;}]?\s*$`)
	constant   = regexp.MustCompile(`^\s*(?:0[xX])?[0-9A-Fa-f]+\s*[,;]?\s*$`)
)

// valuesOf returns the values, other than constants, to which a line sets the variable name: the text after = or
// the arguments of a call that gets its address as the first one.
func valuesOf(name, text string) (values []string) {
	if len(text) > srcline.MaxLen {
		return nil
	}
	line := srcline.Parse(text)
	for _, a := range line.Assigns {
		if value := text[a.Start-1 : a.End-1]; a.Place.Var == name && len(a.Place.Path) == 0 && !constant.MatchString(value) {
			values = append(values, value)
		}
	}
	for _, c := range line.Calls {
		if len(c.Args) < 2 || !c.Args[0].Addr || c.Args[0].Place.Var != name || len(c.Args[0].Place.Path) > 0 {
			continue
		}
		values = append(values, argsAfterFirst(&c))
	}
	return values
}

// swap returns the meaning of a number with its bytes swapped.
func swap(m decode.Meaning) decode.Meaning {
	switch m {
	case decode.Port:
		return decode.HostOrder
	case decode.HostOrder:
		return decode.Port
	case decode.IPv4:
		return decode.IPv4Host
	case decode.IPv4Host:
		return decode.IPv4
	}
	return decode.NoMeaning
}
