// Package filter selects records by an expression over their fields.
//
//	f, err := filter.New(`pid == 1 && comm startsWith "sys"`, types)
//	...
//	if f.Match(seq, rec.Pos, rec.Data) {
//
// The language is that of github.com/expr-lang/expr. Its names are seq, pos and len,
// numbers; type, the name of the record's type; data, the record; and each
// member of the record that none of these hides: "pid" is "data.pid". An expression is
// checked against all types that a record can have before the first one is seen: a name
// that none has, or an operation on the wrong type, is an error of [New]. A comparison with
// a field that a record's type does not have is false.
//
// Integers are exact: unsigned ones of 64 bits too, which expr itself compares
// as signed.
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/rbtool/rbtool/decode"
)

// Filter is a compiled expression. It belongs to one goroutine.
type Filter struct {
	types   *decode.Set
	untyped *vm.Program // for records without a type
	typed   map[*decode.Decoder]compiled
	machine vm.VM
	errors  uint64
	err     error
}

// compiled is the expression for records of one type.
type compiled struct {
	program *vm.Program
	fields  *decode.Selection // nil when it uses none
	whole   bool              // it uses data
}

// The names that every record has.
const (
	nameSeq  = "seq"
	namePos  = "pos"
	nameLen  = "len"
	nameType = "type"
	nameData = "data"
)

// New compiles an expression for records of types, which may be nil: then their fields are
// not known.
func New(expression string, types *decode.Set) (*Filter, error) {
	var decoders []*decode.Decoder
	if types != nil {
		decoders = types.Decoders()
	}
	// First for a record that has the fields of all types: what is wrong then is
	// wrong for each.
	used := &names{}
	if _, err := build(expression, environment(decoders...), used); err != nil {
		return nil, explain(err, types)
	}
	if err := used.check(decoders); err != nil {
		return nil, err
	}
	f := &Filter{types: types, typed: map[*decode.Decoder]compiled{}}
	var err error
	if f.untyped, err = forType(expression, environment()); err != nil {
		return nil, explain(err, types)
	}
	for _, d := range decoders {
		c := compiled{}
		if c.program, err = forType(expression, environment(d)); err != nil {
			return nil, fmt.Errorf("for records of type %s: %w", d.Name(), explain(err, types))
		}
		if fields := used.fields(); slices.Contains(used.found, nameData) {
			c.fields, c.whole = d.Select(), true
		} else if len(fields) > 0 {
			c.fields = d.Select(fields...)
		}
		f.typed[d] = c
	}
	return f, nil
}

// forType builds an expression that is right for some type, for records that have the names of
// env. Within an operation all of it can be absent.
func forType(expression string, env types.Map) (*vm.Program, error) {
	return build("("+expression+"\n) && true", env, &absent{known: env})
}

func build(expression string, env types.Map, visitor ast.Visitor) (*vm.Program, error) {
	options := append([]expr.Option{expr.Env(env), expr.AsBool(), expr.DisableBuiltin("len"), expr.Patch(visitor)}, unsigned()...)
	return expr.Compile(expression, options...)
}

// explain makes one line of what expr says in several.
func explain(err error, types *decode.Set) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if types == nil && strings.Contains(text, "unknown name") {
		return fmt.Errorf("%s: the type of the records is not known, so they have no fields", text)
	}
	return errors.New(text)
}

// Match reports whether the expression is true for a record. It is not for one that it cannot
// be computed for: see [Filter.Errors].
func (f *Filter) Match(seq, pos uint64, record []byte) bool {
	env := map[string]any{nameSeq: seq, namePos: pos, nameLen: len(record), nameType: ""}
	program := f.untyped
	if f.types != nil {
		if d, err := f.types.Decoder(record); err == nil {
			c := f.typed[d]
			program = c.program
			env[nameType] = d.Name()
			if err := c.fill(env, record); err != nil {
				f.note(err)
				return false
			}
		}
	}
	out, err := f.machine.Run(program, env)
	if err != nil {
		f.note(err)
		return false
	}
	matched, _ := out.(bool)
	return matched
}

// fill adds the record's fields to env.
func (c *compiled) fill(env map[string]any, record []byte) error {
	if c.fields == nil {
		return nil
	}
	v, err := c.fields.Values(record)
	if err != nil {
		return err
	}
	if c.whole {
		env[nameData] = v
	}
	fields, _ := v.(map[string]any)
	for name, field := range fields {
		if !reserved(name) {
			env[name] = field
		}
	}
	return nil
}

// reserved reports whether a name means something else than the member that has it.
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

// Errors returns for how many records the expression could not be computed, and the first
// reason.
func (f *Filter) Errors() (n uint64, first error) { return f.errors, f.err }
