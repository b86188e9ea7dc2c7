// Package srcline reads single lines of C, as the kernel keeps them for the instructions of a program: which
// variables and members a line writes, which it passes to calls, and which types it names.
//
// A line can be any part of a statement or several statements. It is not compiled: macros are not known, and
// what cannot be read is left out. The work and the memory for a line are bounded: only its first [MaxLen] bytes are read,
// and only the first of very many calls, assignments and types.
package srcline

import (
	"slices"
	"strings"
)

// MaxLen is how many bytes of a line are read.
const MaxLen = 2048

// maxParts is how many assignments, calls and types of a line are read: to read one can take as long as the line is.
const maxParts = 64

// Line is what a line says.
type Line struct {
	Assigns []Assign   // in the order of the text
	Calls   []Call     // of functions and macros, in the order of the text
	Types   []TypeName // each once
}

// Assign is an assignment, or the initialisation of a variable or member.
type Assign struct {
	Place Place
	// Op is the operator: "=", "|=", "++".
	Op string
	// Column is where the operator is, in bytes from 1. The compiler gives a store this column.
	Column int
	// Start and End are the columns of the value: from the first byte after the operator to the end.
	Start, End int
	// Declared is the type of a variable that is declared here; the zero value otherwise.
	Declared TypeName
	// Member reports that this is the designated initialiser of a member: Place has no variable.
	Member bool
}

// Place is an object in memory: a variable, or a member of what a variable is or points to.
type Place struct {
	// Var is the variable. A pointer in a struct is one as well: "e->next" in "e->next->x".
	Var string
	// Deref reports that the place is reached through the pointer Var.
	Deref bool
	Path  []Step
	// As is the type that a cast gives to the place, as in *(u64 *)&e->id; "" without a cast.
	As string
}

// Step leads to a member of a struct or to an element of an array.
type Step struct {
	Member string // "" for an element
	Index  int64  // of an element; -1 if it is not a number
}

// String returns the path as in C: "src.addr", "args[1]", "args[]" for an unknown element.
func (p Place) String() string {
	var b strings.Builder
	b.WriteString(p.Var)
	for i, s := range p.Path {
		switch {
		case s.Member == "":
			b.WriteString(s.index())
		case i == 0 && p.Deref:
			b.WriteString("->" + s.Member)
		default:
			b.WriteString("." + s.Member)
		}
	}
	return b.String()
}

// Call is a call of a function or macro.
type Call struct {
	Name   string
	Column int // of the name
	Args   []Arg
	// Open reports that the call goes on in the next line: arguments are missing, and the last one may be a part.
	Open bool
}

// Arg is an argument of a call.
type Arg struct {
	Text string
	// Place is the object that the argument names, if Named is set. Addr reports that the argument is its
	// address; an array, and a pointer, is passed without it.
	Place Place
	Named bool
	Addr  bool
}

// TypeName is a type that a line names.
type TypeName struct {
	Name string
	// Tag reports that "struct", "union" or "enum" stands before the name. Without it, it can be the name
	// of a variable, as in sizeof(event).
	Tag bool
	// Pointer reports that a declaration makes a pointer to the type.
	Pointer bool
	// Value reports that the line names it only in the value of an assignment, and not as the type of that, as
	// "*e = (struct event){" does.
	Value bool
}

// Parse reads a line. The result is not to be changed: others can have it as well. Any number of goroutines can
// call Parse.
func Parse(text string) *Line {
	text = text[:min(len(text), MaxLen)]
	if l := recent.find(text); l != nil {
		return l
	}
	p := newParser(text)
	defer p.free()
	p.calls()
	p.assigns()
	p.types()
	recent.add(text, p.line)
	return p.line
}

// IsScalar reports whether the name is that of a number, such as __u32, or of void.
func IsScalar(name string) bool { return scalars[name] }

// AssignAt returns the assignment whose operator is at the column, or nil.
func (l *Line) AssignAt(column int) *Assign {
	for i := range l.Assigns {
		if l.Assigns[i].Column == column {
			return &l.Assigns[i]
		}
	}
	return nil
}

// CallAt returns the call whose name begins at the column, or nil.
func (l *Line) CallAt(column int) *Call {
	for i := range l.Calls {
		if l.Calls[i].Column == column {
			return &l.Calls[i]
		}
	}
	return nil
}

// Call returns the first call of the function, or nil.
func (l *Line) Call(name string) *Call {
	for i := range l.Calls {
		if l.Calls[i].Name == name {
			return &l.Calls[i]
		}
	}
	return nil
}

// Open reports whether the arguments of a call go on in the next line.
func (l *Line) Open() bool {
	return slices.ContainsFunc(l.Calls, func(c Call) bool { return c.Open })
}

// Result returns the assignment whose value has the call, or nil.
func (l *Line) Result(c *Call) *Assign { return l.ValueAt(c.Column) }

// ValueAt returns the assignment whose value has the column, the innermost of several, or nil.
func (l *Line) ValueAt(column int) *Assign {
	for i := len(l.Assigns) - 1; i >= 0; i-- {
		if a := &l.Assigns[i]; a.Start <= column && column < a.End {
			return a
		}
	}
	return nil
}
