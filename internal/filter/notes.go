package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/expr-lang/expr/ast"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/decode"
)

// Notes say what an expression probably does not mean, one line each.
func (f *Filter) Notes() []string { return f.notes }

// suspicion collects notes about an expression for records of one type.
type suspicion struct {
	source   []rune
	meanings map[string]decode.Meaning
	notes    []string
}

// Visit handles a comparison. A field in network order has the bytes of its number swapped, in JSON as in a filter.
func (s *suspicion) Visit(node *ast.Node) {
	n, ok := (*node).(*ast.BinaryNode)
	if !ok || !compares(n.Operator) {
		return
	}
	for _, sides := range [][2]ast.Node{{n.Left, n.Right}, {n.Right, n.Left}} {
		path := pathOf(sides[0])
		switch s.meanings[path] {
		case decode.Port:
			if hasNumber(sides[1]) {
				s.add(fmt.Sprintf("%s has the port in network order: port(%s) is its number", path, path))
			}
		case decode.BigEndian:
			if hasNumber(sides[1]) {
				s.add(fmt.Sprintf("%s is in network order: port(%s) is its number if it has 16 bits", path, path))
			}
		case decode.Errno, decode.Returned:
			if name := s.errorName(sides[1]); name != "" {
				s.add(fmt.Sprintf("%s is negative if it is an error: -%s", path, name))
			}
		}
	}
}

// errorName returns the name of an error that a node, or an element of a list, has without a minus; "" if it has none.
func (s *suspicion) errorName(node ast.Node) string {
	switch n := node.(type) {
	case *ast.ArrayNode:
		for _, elem := range n.Nodes {
			if name := s.errorName(elem); name != "" {
				return name
			}
		}
	case *ast.IntegerNode: // a constant, see resolver
		if at := n.Location().From; at < len(s.source) && s.source[at] == 'E' {
			return unix.ErrnoName(syscall.Errno(n.Value))
		}
	}
	return ""
}

func (s *suspicion) add(note string) {
	if !slices.Contains(s.notes, note) {
		s.notes = append(s.notes, note)
	}
}

// compares reports whether an operator compares its operands.
func compares(operator string) bool {
	switch operator {
	case "==", "!=", "<", "<=", ">", ">=", "in":
		return true
	}
	return false
}

// hasNumber reports whether a node is a number, or a list or range of numbers.
func hasNumber(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.IntegerNode:
		return true
	case *ast.ArrayNode:
		return slices.ContainsFunc(n.Nodes, hasNumber)
	case *ast.BinaryNode:
		return n.Operator == ".." && hasNumber(n.Left)
	}
	return false
}

// hintAddress adds to an error about types that addresses are written with ip, if the expression compares a field with
// the text of one.
func (n *names) hintAddress(err error) error {
	if !strings.Contains(err.Error(), "mismatched types") {
		return err
	}
	for _, c := range n.constants {
		_, errAddr := netip.ParseAddr(c.text)
		_, errPrefix := netip.ParsePrefix(c.text)
		if errAddr == nil || errPrefix == nil {
			return fmt.Errorf("%w: an address is written ip(%q)", err, c.text)
		}
	}
	return err
}
