package filter

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
)

// member compiles the access to a member of a struct or an element of a list.
func (c *compiler) member(n *ast.MemberNode) (expression, error) {
	both, err := c.compileAll([]ast.Node{n.Node, n.Property})
	if err != nil {
		return nil, err
	}
	optional := n.Optional
	return func(s *scope) (any, error) {
		base, err := both[0](s)
		if err != nil || base == nil && optional {
			return nil, err
		}
		property, err := both[1](s)
		if err != nil {
			return nil, err
		}
		return fetch(base, property)
	}, nil
}

// fetch returns a member of a struct, or an element of a list. A negative index counts from the end of the list. A
// record that ends before a member, or that has another member of a union, does not have it: that is an error.
func fetch(base, property any) (any, error) {
	switch base := base.(type) {
	case map[string]any:
		if name, ok := property.(string); ok {
			if v, ok := base[name]; ok {
				return v, nil
			}
			return nil, fmt.Errorf("the record has no value %s", name)
		}
	case []any:
		i, ok := word(property)
		if i < 0 {
			i += len(base)
		}
		if !ok || i < 0 || i >= len(base) {
			return nil, fmt.Errorf("index %v out of range for a list of %d", property, len(base))
		}
		return base[i], nil
	}
	return nil, fmt.Errorf("%[2]s has no member %[1]v", property, kindOf(base))
}

// slice compiles a slice expression: of a list by elements, of a string by bytes.
func (c *compiler) slice(n *ast.SliceNode) (expression, error) {
	nodes := []ast.Node{n.Node, &ast.NilNode{}, &ast.NilNode{}}
	if n.From != nil {
		nodes[1] = n.From
	}
	if n.To != nil {
		nodes[2] = n.To
	}
	all, err := c.compileAll(nodes)
	if err != nil {
		return nil, err
	}
	return func(s *scope) (any, error) {
		args, err := values(all, s)
		if err != nil {
			return nil, err
		}
		switch base := args[0].(type) {
		case string:
			from, to, err := bounds(args[1], args[2], len(base))
			return base[from:to], err
		case []any:
			from, to, err := bounds(args[1], args[2], len(base))
			return base[from:to], err
		}
		return nil, fmt.Errorf("%s cannot be sliced", kindOf(args[0]))
	}, nil
}

// bounds clamps the bounds of a slice to a length. Negative bounds count from the end. If it returns an
// error, both bounds are 0, which the caller can use.
func bounds(from, to any, length int) (int, int, error) {
	a, okA := clamp(from, 0, length)
	b, okB := clamp(to, length, length)
	if !okA || !okB {
		return 0, 0, fmt.Errorf("invalid slice bounds %v:%v", from, to)
	}
	return min(a, b), b, nil
}

// clamp clamps a bound to 0..length. It returns def if v is nil, and false if v is not an integer.
func clamp(v any, def, length int) (int, bool) {
	if v == nil {
		return def, true
	}
	x, ok := integer(v)
	if !ok {
		return 0, false
	}
	i, ok := word(v)
	switch {
	case !ok && x.Sign() > 0:
		return length, true
	case i < 0:
		i += length
	}
	return min(max(i, 0), length), true
}

// values evaluates all expressions, in order.
func values(all []expression, s *scope) ([]any, error) {
	out := make([]any, len(all))
	for i, e := range all {
		var err error
		if out[i], err = e(s); err != nil {
			return nil, err
		}
	}
	return out, nil
}
