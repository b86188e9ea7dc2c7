// Package filter selects records by an expression over their fields.
//
//	f, err := filter.New(`pid == 1 && comm startsWith "sys"`, types)
//	...
//	if f.Match(seq, rec.Pos, rec.Data) {
//
// The syntax is that of github.com/expr-lang/expr, and so are the parser and the type checker. The
// names are the numbers seq, pos and len; type, the name of the record's type; data, the record; and
// each member of the record with another name: "pid" is "data.pid". [New] checks an expression against
// all types that a record can have, and fails for a name that none of them has and for an operation on
// the wrong type. A comparison with a field that a record's type lacks is false.
//
// Names of enumerators need no quotes. Those of errors, signals and some other constants of C are numbers, so that
// ret == -ENOENT reads as in C. ip("10.0.0.0/8") is equal to each address in a network, and contains it; uid, gid and
// port turn names and ports into the numbers that records have.
//
// This package computes the values, since expr computes in int and float64 and wraps around. Integers
// are exact up to 4096 bits: literals, fields of 64 or 128 bits, and the results of + - * / % **. The
// quotient of two integers is a fraction. Integers and floats are compared exactly. The sum of an integer
// and a float has no exact result if no float equals the integer; the record then does not match, see
// [Filter.Errors]. Durations such as 1.5ms are numbers of nanoseconds, or of
// the unit of the field with which they are compared ([decode.Microseconds]). New rejects the rest of expr (maps, reduce, sort, dates, ...).
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/rbtool/rbtool/decode"
)

// Filter is a compiled expression. One goroutine at a time may use it.
type Filter struct {
	types   *decode.Set
	untyped *compiled // for records whose type is unknown
	typed   map[*decode.Codec]*compiled
	notes   []string
	errors  uint64
	err     error
}

// compiled is the expression compiled for records of one type.
type compiled struct {
	expression
	scope
	selection *decode.Selection // nil if the expression uses no field
}

// Names that are defined for every record.
const (
	nameSeq  = "seq"
	namePos  = "pos"
	nameLen  = "len"
	nameType = "type"
	nameData = "data"
)

// New compiles an expression for records of the given types. If types is nil, the expression cannot use
// fields.
func New(expression string, types *decode.Set) (*Filter, error) {
	var decoders []*decode.Codec
	if types != nil {
		decoders = types.Codecs()
	}
	// Check the expression against a record that has the fields of all types: an error there is an error
	// for each type.
	known := wordsOf(decoders)
	all, err := parse(expression, known)
	if err != nil {
		return nil, explain(err, types)
	}
	used := &names{}
	ast.Walk(&all.tree.Node, used)
	if err := all.check(environment(decoders...)); err != nil {
		return nil, used.hintAddress(known.complete(explain(err, types)))
	}
	if err := used.check(decoders); err != nil {
		return nil, err
	}
	if _, err := all.compile(); err != nil {
		return nil, err
	}
	f := &Filter{types: types, typed: map[*decode.Codec]*compiled{}}
	if f.untyped, err = forType(expression, known, nil); err != nil {
		return nil, explain(err, types)
	}
	for _, d := range decoders {
		c, err := forType(expression, known, d)
		if err != nil {
			return nil, fmt.Errorf("for records of type %s: %w", d.Name(), explain(err, types))
		}
		s := &suspicion{source: []rune(all.tree.Source.String()), meanings: meaningsOf(d), notes: f.notes}
		ast.Walk(&all.tree.Node, s)
		f.notes = s.notes
		c.typ = d.Name()
		if fields := used.fields(); slices.Contains(used.found, nameData) {
			c.selection = d.Select()
		} else if len(fields) > 0 {
			c.selection = d.Select(fields...)
		}
		f.typed[d] = c
	}
	return f, nil
}

// forType compiles an expression for records of type d, or of no type. It replaces operands that use a field
// that the type does not have by false. It first appends "&& true", so that the whole expression is an operand too.
func forType(expression string, known *words, d *decode.Codec) (*compiled, error) {
	s, err := parse(expression, known)
	if err != nil {
		return nil, err
	}
	env := environment()
	if d != nil {
		env, s.meanings = environment(d), meaningsOf(d)
		ast.Walk(&s.tree.Node, scaler{s})
	}
	s.tree.Node = &ast.BinaryNode{Operator: "&&", Left: s.tree.Node, Right: &ast.BoolNode{Value: true}}
	used := &names{}
	ast.Walk(&s.tree.Node, used)
	ast.Walk(&s.tree.Node, &absent{known: env, variables: used.variables})
	if err := s.check(env); err != nil {
		return nil, err
	}
	return s.compile()
}

func (s *syntax) compile() (*compiled, error) {
	c := compiler{syntax: s, vars: map[string]int{}}
	e, err := c.compile(s.tree.Node)
	if err != nil {
		return nil, err
	}
	return &compiled{expression: e, scope: scope{vars: make([]any, c.size)}}, nil
}

// explain returns the first line of an error of package expr; the other lines quote the expression. If
// types is nil, it also says why a field is unknown.
func explain(err error, types *decode.Set) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if types == nil && strings.Contains(text, "unknown name") {
		return fmt.Errorf("%s: the type of the records is not known, so they have no fields", text)
	}
	return errors.New(text)
}

// Match reports whether the expression is true for a record. It returns false if the expression cannot
// be evaluated, and counts the record, see [Filter.Errors].
func (f *Filter) Match(seq, pos uint64, record []byte) bool {
	c := f.untyped
	if f.types != nil {
		if d, err := f.types.Codec(record); err == nil {
			c = f.typed[d]
		}
	}
	c.seq, c.pos, c.size, c.steps = seq, pos, len(record), maxSteps
	matched, err := c.match(record)
	if err != nil {
		f.note(err)
	}
	return matched
}

func (c *compiled) match(record []byte) (bool, error) {
	if c.selection != nil {
		v, err := c.selection.Values(record)
		if err != nil {
			return false, err
		}
		c.data = v
		c.fields, _ = v.(map[string]any)
	}
	return truth(c.expression, &c.scope)
}

// reserved reports whether a name is defined for every record. Such a name hides a member of the same
// name.
func reserved(name string) bool {
	switch name {
	case nameSeq, namePos, nameLen, nameType, nameData:
		return true
	}
	return false
}

func (f *Filter) note(err error) {
	f.errors++
	if f.err == nil {
		f.err = explain(err, f.types)
	}
}

// Errors returns the number of records for which the expression could not be evaluated, and the first error.
func (f *Filter) Errors() (n uint64, first error) { return f.errors, f.err }
