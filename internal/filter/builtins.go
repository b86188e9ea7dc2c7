package filter

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
)

// functions are the builtin functions that take values.
var functions = map[string]func(args []any) (any, error){
	"len":    func(args []any) (any, error) { return length(args[0]) },
	"abs":    func(args []any) (any, error) { return abs(args[0]) },
	"max":    func(args []any) (any, error) { return extreme("max", args, 1) },
	"min":    func(args []any) (any, error) { return extreme("min", args, -1) },
	"floor":  func(args []any) (any, error) { return round(args[0], math.Floor, floor) },
	"ceil":   func(args []any) (any, error) { return round(args[0], math.Ceil, ceil) },
	"round":  func(args []any) (any, error) { return round(args[0], math.Round, half) },
	"int":    func(args []any) (any, error) { return toInteger(args[0]) },
	"float":  func(args []any) (any, error) { return toFloat(args[0]) },
	"string": func(args []any) (any, error) { return text(args[0]) },
	"first":  func(args []any) (any, error) { return end(args[0], false) },
	"last":   func(args []any) (any, error) { return end(args[0], true) },
	"bitand": func(args []any) (any, error) { return bitwise(args, (*big.Int).And) },
	"bitor":  func(args []any) (any, error) { return bitwise(args, (*big.Int).Or) },
	"bitxor": func(args []any) (any, error) { return bitwise(args, (*big.Int).Xor) },
	"bitnot": func(args []any) (any, error) { return bitwise([]any{args[0], -1}, (*big.Int).Xor) },
	"bitshl": func(args []any) (any, error) { return shift(args, (*big.Int).Lsh) },
	"bitshr": func(args []any) (any, error) { return shift(args, (*big.Int).Rsh) },
}

// ofText are expr's string functions that a filter can use.
var ofText = []string{
	"trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "splitAfter", "replace", "join",
	"indexOf", "lastIndexOf", "hasPrefix", "hasSuffix",
}

func (c *compiler) builtin(n *ast.BuiltinNode) (expression, error) {
	if over, ok := loops[n.Name]; ok {
		return c.over(n, over)
	}
	function := functions[n.Name]
	if slices.Contains(ofText, n.Name) {
		function = textFunction(builtin.Builtins[builtin.Index[n.Name]])
	}
	if function == nil {
		return nil, c.refuse(n, "the function "+n.Name)
	}
	args, err := c.compileAll(n.Arguments)
	if err != nil {
		return nil, err
	}
	return func(s *scope) (any, error) {
		v, err := values(args, s)
		if err != nil {
			return nil, err
		}
		return function(v)
	}, nil
}

// textFunction returns a function that converts its arguments, checks their types and calls f.
func textFunction(f *builtin.Function) func(args []any) (any, error) {
	return func(args []any) (any, error) {
		for i, arg := range args {
			if n, ok := word(arg); ok {
				args[i] = n
			}
			if parts, ok := arg.([]any); ok {
				texts := make([]string, len(parts))
				for j := range parts {
					if texts[j], ok = parts[j].(string); !ok {
						return nil, fmt.Errorf("%s does not take a list that contains %s", f.Name, kindOf(parts[j]))
					}
				}
				args[i] = texts
			}
		}
		for _, t := range f.Types {
			if !takes(t, args) {
				continue
			}
			if f.Fast != nil {
				return f.Fast(args[0]), nil
			}
			out, err := f.Func(args...)
			if parts, ok := out.([]string); ok {
				all := make([]any, len(parts))
				for i := range parts {
					all[i] = parts[i]
				}
				return all, err
			}
			return out, err
		}
		return nil, fmt.Errorf("%s does not take %s", f.Name, kindsOf(args))
	}
}

// takes reports whether a function type accepts args.
func takes(function reflect.Type, args []any) bool {
	if function.NumIn() != len(args) {
		return false
	}
	for i, arg := range args {
		if arg == nil || !reflect.TypeOf(arg).AssignableTo(function.In(i)) {
			return false
		}
	}
	return true
}

// length returns the number of characters of a string, elements of a list, or members of a struct.
func length(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v), nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	return nil, fmt.Errorf("len does not take %s", kindOf(v))
}

func abs(v any) (any, error) {
	if f, ok := v.(float64); ok {
		return math.Abs(f), nil
	}
	if order, ok := compareNumbers(v, 0); !ok || order >= 0 {
		return arithmetic("+", 0, v)
	}
	return arithmetic("-", 0, v)
}

// extreme returns the greatest number in args if sign is 1, and the least if sign is -1. Arguments can
// be numbers and lists of numbers.
func extreme(name string, args []any, sign int) (best any, err error) {
	for _, arg := range args {
		if list, ok := arg.([]any); ok && len(list) > 0 {
			if arg, err = extreme(name, list, sign); err != nil {
				return nil, err
			}
		}
		if best == nil {
			best = arg
		}
		order, ok := compareNumbers(arg, best)
		if !ok {
			if f, isFloat := arg.(float64); isFloat && math.IsNaN(f) {
				return nil, fmt.Errorf("%s does not take NaN", name)
			}
			return nil, fmt.Errorf("%s does not take %s", name, kindOf(arg))
		}
		if order == sign {
			best = arg
		}
	}
	return best, nil
}

func floor(x *big.Rat) *big.Int { return new(big.Int).Div(x.Num(), x.Denom()) }

func ceil(x *big.Rat) *big.Int {
	below := floor(new(big.Rat).Neg(x))
	return below.Neg(below)
}

// half rounds x to the nearest integer, and halves away from zero, like math.Round.
func half(x *big.Rat) *big.Int {
	if x.Sign() < 0 {
		return ceil(new(big.Rat).Sub(x, big.NewRat(1, 2)))
	}
	return floor(new(big.Rat).Add(x, big.NewRat(1, 2)))
}

func round(v any, ofFloat func(float64) float64, ofRat func(*big.Rat) *big.Int) (any, error) {
	if f, ok := v.(float64); ok {
		return ofFloat(f), nil
	}
	if _, ok := integer(v); ok {
		return v, nil
	}
	r, ok := rational(v)
	if !ok {
		return nil, fmt.Errorf("%s cannot be rounded", kindOf(v))
	}
	return normal(ofRat(r))
}

// toInteger truncates a number to an integer, or parses a string as one.
func toInteger(v any) (any, error) {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is not an integer", v)
		}
		i, _ := big.NewFloat(v).Int(nil)
		return normal(i)
	case string:
		if len(v) > maxBits { // big.Int needs quadratic time to parse
			return nil, errTooLarge
		}
		i, ok := new(big.Int).SetString(v, 10)
		if !ok {
			return nil, fmt.Errorf("%q is not an integer", v)
		}
		return normal(i)
	}
	return round(v, nil, func(r *big.Rat) *big.Int { return new(big.Int).Quo(r.Num(), r.Denom()) })
}

func toFloat(v any) (any, error) {
	if text, ok := v.(string); ok {
		if len(text) > maxBits {
			return nil, errTooLarge
		}
		return strconv.ParseFloat(text, 64)
	}
	return float(v)
}

func text(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int, uint64, *big.Int, float64, bool, nil:
		return fmt.Sprint(v), nil
	}
	return nil, fmt.Errorf("string does not take %s", kindOf(v))
}

// end returns the first element of a list, or the last one if last is set. It returns nil if the list is
// empty.
func end(v any, last bool) (any, error) {
	list, ok := v.([]any)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s has no first or last element", kindOf(v))
	case len(list) == 0:
		return nil, nil
	case last:
		return list[len(list)-1], nil
	}
	return list[0], nil
}

// bitwise applies a bit operation to integers in two's complement of unlimited width.
func bitwise(args []any, apply func(z, x, y *big.Int) *big.Int) (any, error) {
	x, okX := integer(args[0])
	y, okY := integer(args[1])
	if !okX || !okY {
		return nil, fmt.Errorf("bit operations take integers, not %s", kindsOf(args))
	}
	return normal(apply(new(big.Int), x, y))
}

// shift shifts an integer by a number of bits. A left shift loses no bits: integers have no fixed width.
func shift(args []any, apply func(z, x *big.Int, n uint) *big.Int) (any, error) {
	x, ok := integer(args[0])
	n, okN := word(args[1])
	if !ok || !okN || n < 0 || n > maxBits {
		return nil, fmt.Errorf("cannot shift %v by %v bits", args[0], args[1])
	}
	return normal(apply(new(big.Int), x, uint(n)))
}
