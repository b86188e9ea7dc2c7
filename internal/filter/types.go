package filter

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr/types"

	"github.com/rbtool/rbtool/decode"
)

// environment returns the names, with their types, that an expression for records of the given types can
// use.
func environment(decoders ...*decode.Codec) types.Map {
	data := types.Map{}
	for _, d := range decoders {
		addFields(data, d.Fields())
	}
	env := types.Map{}
	for name, t := range data {
		env[name] = t
	}
	env[nameSeq], env[namePos], env[nameLen] = types.Int, types.Int, types.Int
	env[nameType], env[nameData] = types.String, data
	return env
}

// meaningsOf returns the meanings of the fields of a type by their path, with and without "data.".
func meaningsOf(d *decode.Codec) map[string]decode.Meaning {
	all := make(map[string]decode.Meaning)
	for _, f := range d.Fields() {
		if f.Meaning != decode.NoMeaning && len(f.Path) > 0 {
			path := strings.Join(f.Path, ".")
			all[path], all[nameData+"."+path] = f.Meaning, f.Meaning
		}
	}
	return all
}

// addFields adds fields to a struct type. If a name has different types in different records, its uses
// are checked only at evaluation.
func addFields(to types.Map, fields []decode.Field) {
	for _, f := range fields {
		if len(f.Path) == 0 {
			continue // the record is not a struct: it has no members
		}
		in := to
		for _, name := range f.Path[:len(f.Path)-1] {
			inner, ok := in[name].(types.Map)
			if !ok {
				inner = types.Map{}
				in[name] = inner
			}
			in = inner
		}
		name, t := f.Path[len(f.Path)-1], typeOf(f)
		if known, ok := in[name]; ok && !known.Equal(t) {
			t = types.Any
		}
		in[name] = t
	}
}

func typeOf(f decode.Field) types.Type {
	switch f.Type.Kind() {
	case reflect.Bool:
		return types.Bool
	case reflect.Float64:
		return types.Float64
	case reflect.String:
		return types.String
	case reflect.Slice:
		return types.Array(elementOf(f.Elem))
	}
	return types.Int // types.Int stands for integers of any size: arithmetic here is exact
}

func elementOf(fields []decode.Field) types.Type {
	if len(fields) == 1 && len(fields[0].Path) == 0 {
		return typeOf(fields[0])
	}
	m := types.Map{}
	addFields(m, fields)
	return m
}

// check returns an error for a comparison with a string that is never true: the string names no type, or
// no enumerator.
func (n *names) check(decoders []*decode.Codec) error {
	if len(decoders) == 0 {
		return nil
	}
	for _, c := range n.constants {
		path := strings.TrimPrefix(c.path, nameData+".")
		if c.path == nameType {
			var known []string
			for _, d := range decoders {
				known = append(known, d.Name())
			}
			if !slices.Contains(known, c.text) {
				return fmt.Errorf("no record has type %q (types: %s)", c.text, strings.Join(known, ", "))
			}
			continue
		}
		var known []string
		for _, d := range decoders {
			for _, f := range d.Fields() {
				if strings.Join(f.Path, ".") == path {
					known = append(known, f.Enumerators...)
				}
			}
		}
		if len(known) > 0 && !slices.Contains(known, c.text) && !isNumber(c.text) {
			return fmt.Errorf("%s is never %q (values: %s)", c.path, c.text, strings.Join(slices.Compact(known), ", "))
		}
	}
	return nil
}

// isNumber reports whether text can be an enum's value that has no enumerator, which is shown as a
// number.
func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "-0123456789") == ""
}
