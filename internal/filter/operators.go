package filter

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) unary(n *ast.UnaryNode) (expression, error) {
	operand, err := c.compile(n.Node)
	if err != nil {
		return nil, err
	}
	switch n.Operator {
	case "!", "not":
		return func(s *scope) (any, error) {
			b, err := truth(operand, s)
			return !b, err
		}, nil
	case "-", "+":
		operator := n.Operator
		return func(s *scope) (any, error) {
			v, err := operand(s)
			if err != nil {
				return nil, err
			}
			if f, ok := v.(float64); ok && operator == "-" {
				return -f, nil // 0 - f would lose the sign of a zero
			}
			return arithmetic(operator, 0, v)
		}, nil
	}
	return nil, c.refuse(n, "the operator "+n.Operator)
}

// binaries are the operators that always evaluate both operands.
var binaries = map[string]func(a, b any) (any, error){
	"==":         func(a, b any) (any, error) { return equal(a, b), nil },
	"!=":         func(a, b any) (any, error) { return !equal(a, b), nil },
	"<":          func(a, b any) (any, error) { return ordered("<", a, b, func(o int) bool { return o < 0 }) },
	"<=":         func(a, b any) (any, error) { return ordered("<=", a, b, func(o int) bool { return o <= 0 }) },
	">":          func(a, b any) (any, error) { return ordered(">", a, b, func(o int) bool { return o > 0 }) },
	">=":         func(a, b any) (any, error) { return ordered(">=", a, b, func(o int) bool { return o >= 0 }) },
	"+":          add,
	"-":          func(a, b any) (any, error) { return arithmetic("-", a, b) },
	"*":          func(a, b any) (any, error) { return arithmetic("*", a, b) },
	"/":          func(a, b any) (any, error) { return arithmetic("/", a, b) },
	"%":          func(a, b any) (any, error) { return arithmetic("%", a, b) },
	"**":         func(a, b any) (any, error) { return arithmetic("**", a, b) },
	"^":          func(a, b any) (any, error) { return arithmetic("**", a, b) },
	"in":         in,
	"contains":   func(a, b any) (any, error) { return texts("contains", a, b, strings.Contains) },
	"startsWith": func(a, b any) (any, error) { return texts("startsWith", a, b, strings.HasPrefix) },
	"endsWith":   func(a, b any) (any, error) { return texts("endsWith", a, b, strings.HasSuffix) },
}

func (c *compiler) binary(n *ast.BinaryNode) (expression, error) {
	left, right, err := c.operands(n)
	if err != nil {
		return nil, err
	}
	switch n.Operator {
	case "&&", "and":
		return logical(left, right, false), nil
	case "||", "or":
		return logical(left, right, true), nil
	case "??":
		return func(s *scope) (any, error) {
			v, err := left(s)
			if err != nil || v != nil {
				return v, err
			}
			return right(s)
		}, nil
	case "matches":
		return matches(left, right, n.Right)
	case "..":
		return func(s *scope) (any, error) { return list(left, right, s) }, nil
	case "in":
		if r, ok := n.Right.(*ast.BinaryNode); ok && r.Operator == ".." {
			return c.inRange(left, r)
		}
	}
	apply, ok := binaries[n.Operator]
	if !ok {
		return nil, c.refuse(n, "the operator "+n.Operator)
	}
	return func(s *scope) (any, error) {
		a, err := left(s)
		if err != nil {
			return nil, err
		}
		b, err := right(s)
		if err != nil {
			return nil, err
		}
		return apply(a, b)
	}, nil
}

// logical compiles "and" and "or". If left has the value decides, the result is decides and right is not
// evaluated.
func logical(left, right expression, decides bool) expression {
	return func(s *scope) (any, error) {
		b, err := truth(left, s)
		if err == nil && b != decides {
			b, err = truth(right, s)
		}
		return b, err
	}
}

// equal reports whether two values are equal. Values of different kinds are never equal.
func equal(a, b any) bool {
	switch x := a.(type) {
	case nil:
		return b == nil
	case network:
		y, ok := b.(netip.Addr)
		return ok && x.Contains(y.Unmap())
	case netip.Addr:
		y, ok := b.(network)
		return ok && y.Contains(x.Unmap())
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case string:
		y, ok := b.(string)
		return ok && x == y
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name := range x {
			if v, ok := y[name]; !ok || !equal(x[name], v) {
				return false
			}
		}
		return true
	}
	order, ok := compareNumbers(a, b)
	return ok && order == 0
}

// ordered compares two numbers or two strings. Comparisons with a NaN are false.
func ordered(operator string, a, b any, holds func(order int) bool) (any, error) {
	if order, ok := compareNumbers(a, b); ok {
		return holds(order), nil
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return holds(cmp.Compare(x, y)), nil
		}
	}
	if numeric(a) && numeric(b) {
		return false, nil // one operand is NaN
	}
	return nil, fmt.Errorf("operator %s does not take %s and %s", operator, kindOf(a), kindOf(b))
}

// add adds numbers and concatenates strings.
func add(a, b any) (any, error) {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return x + y, nil
		}
	}
	return arithmetic("+", a, b)
}

// in reports whether a list contains a value, or a struct has a member.
func in(a, b any) (any, error) {
	switch b := b.(type) {
	case nil:
		return false, nil
	case network:
		return equal(a, b), nil
	case []any:
		for _, v := range b {
			if equal(a, v) {
				return true, nil
			}
		}
		return false, nil
	case map[string]any:
		if name, ok := a.(string); ok {
			_, has := b[name]
			return has, nil
		}
	}
	return nil, fmt.Errorf("operator in does not take %s and %s", kindOf(a), kindOf(b))
}

func texts(operator string, a, b any, holds func(a, b string) bool) (any, error) {
	x, okX := a.(string)
	y, okY := b.(string)
	if !okX || !okY {
		return nil, fmt.Errorf("operator %s does not take %s and %s", operator, kindOf(a), kindOf(b))
	}
	return holds(x, y), nil
}

// matches compiles the operator "matches". If the pattern is a constant, it compiles the pattern only
// once.
func matches(left, right expression, pattern ast.Node) (expression, error) {
	var compiled *regexp.Regexp
	if text, ok := pattern.(*ast.StringNode); ok {
		var err error
		if compiled, err = regexp.Compile(text.Value); err != nil {
			return nil, err
		}
	}
	return func(s *scope) (any, error) {
		both, err := values([]expression{left, right}, s)
		if err != nil {
			return nil, err
		}
		text, ok := both[0].(string)
		source, okPattern := both[1].(string)
		if !ok || !okPattern {
			return nil, fmt.Errorf("operator matches does not take %s and %s", kindOf(both[0]), kindOf(both[1]))
		}
		re := compiled
		if re == nil {
			if re, err = regexp.Compile(source); err != nil {
				return nil, err
			}
		}
		return re.MatchString(text), nil
	}, nil
}

// inRange compiles "x in from..to" without building the list of the range.
func (c *compiler) inRange(left expression, r *ast.BinaryNode) (expression, error) {
	ends, err := c.compileAll([]ast.Node{r.Left, r.Right})
	if err != nil {
		return nil, err
	}
	all := append([]expression{left}, ends...)
	return func(s *scope) (any, error) {
		v, err := values(all, s)
		if err != nil {
			return nil, err
		}
		if err := checkRange(v[1], v[2]); err != nil {
			return nil, err
		}
		below, ok := compareNumbers(v[1], v[0])
		above, _ := compareNumbers(v[2], v[0])
		return ok && whole(v[0]) && below <= 0 && above >= 0, nil
	}, nil
}

// checkRange returns an error unless both ends of a range are integers.
func checkRange(from, to any) error {
	for _, end := range []any{from, to} {
		if _, ok := integer(end); !ok {
			return fmt.Errorf("operator .. takes integers, not %s", kindOf(end))
		}
	}
	return nil
}

// list evaluates a range to the list of its integers.
func list(left, right expression, s *scope) (any, error) {
	ends, err := values([]expression{left, right}, s)
	if err != nil {
		return nil, err
	}
	if err := checkRange(ends[0], ends[1]); err != nil {
		return nil, err
	}
	if order, _ := compareNumbers(ends[0], ends[1]); order > 0 {
		return []any{}, nil
	}
	count, err := arithmetic("-", ends[1], ends[0])
	if err != nil {
		return nil, err
	}
	last, ok := count.(int)
	if !ok || last >= maxSteps {
		last = maxSteps // too many: the call of step below fails
	}
	if err := s.step(last + 1); err != nil {
		return nil, err
	}
	numbers := make([]any, last+1)
	for i := range numbers {
		if numbers[i], err = arithmetic("+", ends[0], i); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}
