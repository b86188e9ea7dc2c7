package filter

import (
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"
)

// names collects the names that an expression uses, and the strings with which it compares fields.
type names struct {
	found     []string
	variables []string // names of let variables
	constants []comparison
}

// comparison is a comparison of a field with a string.
type comparison struct{ path, text string }

func (n *names) Visit(node *ast.Node) {
	switch node := (*node).(type) {
	case *ast.IdentifierNode:
		if own[node.Value] == nil {
			n.found = append(n.found, node.Value)
		}
	case *ast.VariableDeclaratorNode:
		n.variables = append(n.variables, node.Name)
	case *ast.BinaryNode:
		if node.Operator != "==" && node.Operator != "!=" {
			return
		}
		left, right := node.Left, node.Right
		if _, ok := left.(*ast.StringNode); ok {
			left, right = right, left
		}
		if text, ok := right.(*ast.StringNode); ok {
			n.constants = append(n.constants, comparison{pathOf(left), text.Value})
		}
	}
}

// pathOf returns the path of a field, or "" for any other node.
func pathOf(node ast.Node) string {
	switch node := node.(type) {
	case *ast.IdentifierNode:
		return node.Value
	case *ast.MemberNode:
		property, ok := node.Property.(*ast.StringNode)
		if outer := pathOf(node.Node); ok && outer != "" {
			return outer + "." + property.Value
		}
	}
	return ""
}

// fields returns the names of the record's members that the expression uses.
func (n *names) fields() (members []string) {
	for _, name := range n.found {
		if !reserved(name) {
			members = append(members, name)
		}
	}
	return members
}

// absent replaces comparisons by false if they use a field that the type does not have.
type absent struct {
	known     types.Map
	variables []string // let variables, which are never absent
}

func (a *absent) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "||", "and", "or":
			a.settle(&n.Left)
			a.settle(&n.Right)
		case "==", "!=", "<", "<=", ">", ">=", "in", "contains", "startsWith", "endsWith", "matches":
			a.settle(node)
		}
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			a.settle(&n.Node)
		}
	case *ast.BuiltinNode:
		switch n.Name {
		case "all", "any", "none", "one":
			a.settle(node)
		}
	}
}

// settle replaces a node by false if it uses a field that the type does not have.
func (a *absent) settle(node *ast.Node) {
	if ast.Find(*node, a.missing) != nil {
		ast.Patch(node, &ast.BoolNode{Value: false})
	}
}

// missing reports whether a node names a field that the type does not have.
func (a *absent) missing(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		return a.known[n.Value] == nil && own[n.Value] == nil && !slices.Contains(a.variables, n.Value)
	case *ast.MemberNode:
		base, ok := n.Node.(*ast.IdentifierNode)
		property, named := n.Property.(*ast.StringNode)
		if !ok || !named || base.Value != nameData {
			return false
		}
		data, _ := a.known[nameData].(types.Map)
		return data[property.Value] == nil
	}
	return false
}
