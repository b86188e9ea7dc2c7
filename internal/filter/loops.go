package filter

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
)

// visit returns the value of a loop's predicate for element i, or the element if the loop has no
// predicate.
type visit func(i int) (any, error)

// loops are the builtin functions that visit the elements of a list.
var loops = map[string]func(list []any, at visit) (any, error){
	"all":    func(list []any, at visit) (any, error) { i, err := find(list, at, false); return i < 0, err },
	"any":    func(list []any, at visit) (any, error) { i, err := find(list, at, true); return i >= 0, err },
	"none":   func(list []any, at visit) (any, error) { i, err := find(list, at, true); return i < 0, err },
	"one":    func(list []any, at visit) (any, error) { all, err := where(list, at); return len(all) == 1, err },
	"count":  func(list []any, at visit) (any, error) { all, err := where(list, at); return len(all), err },
	"filter": func(list []any, at visit) (any, error) { return where(list, at) },
	"map":    mapped,
	"sum":    sum,
	"find": func(list []any, at visit) (any, error) {
		i, err := find(list, at, true)
		return elementAt(list, i), err
	},
	"findIndex":     func(list []any, at visit) (any, error) { i, err := find(list, at, true); return indexOf(i), err },
	"findLast":      func(list []any, at visit) (any, error) { i, err := findLast(list, at); return elementAt(list, i), err },
	"findLastIndex": func(list []any, at visit) (any, error) { i, err := findLast(list, at); return indexOf(i), err },
}

// over compiles a call of a function in loops: its list, and its predicate, which some functions can
// omit.
func (c *compiler) over(n *ast.BuiltinNode, run func(list []any, at visit) (any, error)) (expression, error) {
	source, err := c.compile(n.Arguments[0])
	if err != nil {
		return nil, err
	}
	outer := c.loop
	l := &loop{c.reserve(), c.reserve()}
	defer func() { c.loop, c.slots = outer, c.slots-2 }()
	body := func(s *scope) (any, error) { return s.vars[l.element], nil }
	if len(n.Arguments) > 1 {
		predicate, ok := n.Arguments[1].(*ast.PredicateNode)
		if !ok {
			return nil, c.refuse(n, "the function "+n.Name+" without a predicate")
		}
		c.loop = l
		if body, err = c.compile(predicate.Node); err != nil {
			return nil, err
		}
	}
	return func(s *scope) (any, error) {
		v, err := source(s)
		if err != nil {
			return nil, err
		}
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("%s takes a list, not %s", n.Name, kindOf(v))
		}
		return run(list, func(i int) (any, error) {
			s.vars[l.element], s.vars[l.index] = list[i], i
			if err := s.step(1); err != nil {
				return nil, err
			}
			return body(s)
		})
	}, nil
}

// holds returns the value of the predicate for element i. It returns an error if that is not a bool.
func (at visit) holds(i int) (bool, error) {
	return truth(func(*scope) (any, error) { return at(i) }, nil)
}

// find returns the index of the first element for which the predicate is value, or -1.
func find(list []any, at visit, value bool) (int, error) {
	for i := range list {
		holds, err := at.holds(i)
		if err != nil {
			return 0, err
		}
		if holds == value {
			return i, nil
		}
	}
	return -1, nil
}

// findLast returns the index of the last element for which the predicate is true, or -1.
func findLast(list []any, at visit) (int, error) {
	for i := len(list) - 1; i >= 0; i-- {
		if holds, err := at.holds(i); err != nil || holds {
			return i, err
		}
	}
	return -1, nil
}

func elementAt(list []any, i int) any {
	if i < 0 {
		return nil
	}
	return list[i]
}

func indexOf(i int) any {
	if i < 0 {
		return nil
	}
	return i
}

// where returns the elements for which the predicate is true.
func where(list []any, at visit) ([]any, error) {
	found := []any{}
	for i := range list {
		holds, err := at.holds(i)
		if err != nil {
			return nil, err
		}
		if holds {
			found = append(found, list[i])
		}
	}
	return found, nil
}

func mapped(list []any, at visit) (any, error) {
	out := make([]any, len(list))
	for i := range list {
		var err error
		if out[i], err = at(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sum(list []any, at visit) (any, error) {
	var total any = 0
	for i := range list {
		v, err := at(i)
		if err != nil {
			return nil, err
		}
		if total, err = arithmetic("+", total, v); err != nil {
			return nil, err
		}
	}
	return total, nil
}
