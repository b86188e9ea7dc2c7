package filter

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// expression computes a value from a record. Values are nil, bool, string, numbers (see
// number.go), []any and map[string]any.
type expression func(*scope) (any, error)

// scope holds a record and the intermediate values of the expression.
type scope struct {
	seq, pos uint64
	size     int // size of the record in bytes
	typ      string
	data     any
	fields   map[string]any
	vars     []any // values of the let variables, and the elements that loops visit
	steps    int   // number of steps left, see step
}

// maxSteps bounds how many list elements an expression visits per record, so that any(0..1000000,
// any(0..1000000, ...)) terminates.
const maxSteps = 1 << 20

// step counts n visited list elements. It returns an error if that makes more than maxSteps.
func (s *scope) step(n int) error {
	if s.steps -= n; s.steps < 0 {
		return fmt.Errorf("the expression visits more than %d list elements", maxSteps)
	}
	return nil
}

// compiler compiles a syntax tree to an expression. It rejects kinds of nodes that it does not know.
type compiler struct {
	*syntax
	vars  map[string]int // slots of the let variables in scope, by name
	slots int            // number of slots in use
	size  int            // the largest value that slots has had
	loop  *loop          // the loop that encloses the node, or nil
}

// loop has the two slots of a builtin function that visits a list: for the current element and its
// index.
type loop struct{ element, index int }

// reserve reserves a slot of the scope's vars, and returns it.
func (c *compiler) reserve() int {
	c.slots++
	c.size = max(c.size, c.slots)
	return c.slots - 1
}

func (c *compiler) refuse(node ast.Node, what string) error {
	return fmt.Errorf("filters do not support %s %s", what, c.position(node))
}

// constant returns an expression whose value is always v.
func constant(v any) expression { return func(*scope) (any, error) { return v, nil } }

func (c *compiler) compile(node ast.Node) (expression, error) {
	switch n := node.(type) {
	case *ast.NilNode:
		return constant(nil), nil
	case *ast.BoolNode:
		return constant(n.Value), nil
	case *ast.StringNode:
		return constant(n.Value), nil
	case *ast.FloatNode:
		return constant(n.Value), nil
	case *ast.IntegerNode:
		return c.integer(n)
	case *ast.IdentifierNode:
		return c.name(n)
	case *ast.PointerNode:
		return c.pointer(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.ChainNode:
		return c.compile(n.Node)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.SliceNode:
		return c.slice(n)
	case *ast.ArrayNode:
		return c.array(n)
	case *ast.BuiltinNode:
		return c.builtin(n)
	case *ast.VariableDeclaratorNode:
		return c.let(n)
	case *ast.SequenceNode:
		return c.compile(n.Nodes[len(n.Nodes)-1]) // only the last expression of a sequence has an effect
	case *ast.CallNode:
		return c.call(n)
	case *ast.MapNode:
		return nil, c.refuse(node, "map literals")
	case *ast.BytesNode:
		return nil, c.refuse(node, "byte strings")
	}
	return nil, c.refuse(node, fmt.Sprintf("%T", node))
}

func (c *compiler) compileAll(nodes []ast.Node) ([]expression, error) {
	all := make([]expression, len(nodes))
	for i, n := range nodes {
		var err error
		if all[i], err = c.compile(n); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c *compiler) integer(n *ast.IntegerNode) (expression, error) {
	v, ok := c.large[n.Location().From]
	if !ok {
		return constant(n.Value), nil
	}
	exact, err := normal(new(big.Int).Set(v))
	if unit := c.timed[n.Location().From]; err == nil && unit > 1 {
		exact, err = arithmetic("/", exact, unit)
	}
	return constant(exact), err
}

// name compiles a name: of a variable, of a value that every record has, or of a field.
func (c *compiler) name(n *ast.IdentifierNode) (expression, error) {
	if slot, ok := c.vars[n.Value]; ok {
		return func(s *scope) (any, error) { return s.vars[slot], nil }, nil
	}
	switch n.Value {
	case nameSeq:
		return func(s *scope) (any, error) { return s.seq, nil }, nil
	case namePos:
		return func(s *scope) (any, error) { return s.pos, nil }, nil
	case nameLen:
		return func(s *scope) (any, error) { return s.size, nil }, nil
	case nameType:
		return func(s *scope) (any, error) { return s.typ, nil }, nil
	case nameData:
		return func(s *scope) (any, error) { return s.data, nil }, nil
	case "$env":
		return nil, c.refuse(n, "$env")
	}
	name, at := n.Value, c.position(n)
	return func(s *scope) (any, error) {
		if v, ok := s.fields[name]; ok {
			return v, nil
		}
		return nil, fmt.Errorf("%s has no value %s", name, at)
	}, nil
}

// pointer compiles # (the current element of the enclosing loop) and #index (its index).
func (c *compiler) pointer(n *ast.PointerNode) (expression, error) {
	if c.loop == nil {
		return nil, c.refuse(n, "# outside of a list")
	}
	slot := c.loop.element
	if n.Name == "index" {
		slot = c.loop.index
	} else if n.Name != "" {
		return nil, c.refuse(n, "#"+n.Name)
	}
	return func(s *scope) (any, error) { return s.vars[slot], nil }, nil
}

// let compiles the declaration of a variable.
func (c *compiler) let(n *ast.VariableDeclaratorNode) (expression, error) {
	value, err := c.compile(n.Value)
	if err != nil {
		return nil, err
	}
	slot := c.reserve()
	defer func() { c.slots-- }()
	c.vars[n.Name] = slot
	defer delete(c.vars, n.Name)
	body, err := c.compile(n.Expr)
	if err != nil {
		return nil, err
	}
	return func(s *scope) (any, error) {
		v, err := value(s)
		if err != nil {
			return nil, err
		}
		s.vars[slot] = v
		return body(s)
	}, nil
}

func (c *compiler) conditional(n *ast.ConditionalNode) (expression, error) {
	all, err := c.compileAll([]ast.Node{n.Cond, n.Exp1, n.Exp2})
	if err != nil {
		return nil, err
	}
	return func(s *scope) (any, error) {
		holds, err := truth(all[0], s)
		if err != nil {
			return nil, err
		}
		if holds {
			return all[1](s)
		}
		return all[2](s)
	}, nil
}

// truth evaluates an expression that must be a bool.
func truth(e expression, s *scope) (bool, error) {
	v, err := e(s)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s is not a bool", kindOf(v))
	}
	return b, nil
}

func (c *compiler) array(n *ast.ArrayNode) (expression, error) {
	all, err := c.compileAll(n.Nodes)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(n.Nodes, variable) {
		list, err := values(all, nil)
		return constant(list), err
	}
	return func(s *scope) (any, error) {
		list, err := values(all, s)
		if err != nil {
			return nil, err
		}
		return list, s.step(len(list))
	}, nil
}

// variable reports whether the value of a node can vary: it is not a literal.
func variable(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.BoolNode, *ast.NilNode:
		return false
	case *ast.UnaryNode:
		return variable(n.Node)
	}
	return true
}
