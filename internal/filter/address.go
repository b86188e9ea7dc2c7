package filter

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"

	"github.com/expr-lang/expr/ast"

	"github.com/rbtool/rbtool/decode"
)

// network is the value of ip("10.0.0.0/8"): a set of addresses. It equals each address in it, also an IPv4 address
// that is written as an IPv6 address (::ffff:10.0.0.1).
type network struct{ netip.Prefix }

func parseNetwork(arg any) (any, error) {
	text, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("takes an address or network in quotes")
	}
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return network{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not an IP address or network", text)
	}
	return network{prefix.Masked()}, nil
}

// operands compiles both operands of == != and in. If one of them has a network, the other one becomes an address.
func (c *compiler) operands(n *ast.BinaryNode) (left, right expression, err error) {
	both, err := c.compileAll([]ast.Node{n.Left, n.Right})
	if err != nil {
		return nil, nil, err
	}
	left, right = both[0], both[1]
	inLeft, inRight := hasNetwork(n.Left), hasNetwork(n.Right)
	switch n.Operator {
	case "==", "!=", "in":
	default:
		inLeft, inRight = false, false
	}
	switch {
	case inLeft && !inRight:
		right = c.addresses(right, n.Right, n.Operator == "in")
	case inRight && !inLeft:
		left = c.addresses(left, n.Left, false)
	}
	return left, right, nil
}

// hasNetwork reports whether a node calls ip.
func hasNetwork(node ast.Node) bool {
	return ast.Find(node, func(n ast.Node) bool {
		call, ok := n.(*ast.CallNode)
		if !ok {
			return false
		}
		callee, ok := call.Callee.(*ast.IdentifierNode)
		return ok && callee.Value == "ip"+ownSuffix
	}) != nil
}

// addresses returns an expression for the address that a node has in a record, or for its list of addresses.
func (c *compiler) addresses(e expression, node ast.Node, list bool) expression {
	meaning := c.meanings[pathOf(node)]
	return func(s *scope) (any, error) {
		v, err := e(s)
		if err != nil || v == nil {
			return v, err
		}
		all, ok := v.([]any)
		if !list || !ok {
			return toAddress(v, meaning)
		}
		out := make([]any, len(all))
		for i := range all {
			if out[i], err = toAddress(all[i], meaning); err != nil {
				return nil, err
			}
		}
		return out, s.step(len(all))
	}
}

// toAddress returns the address in a value of a record: an integer of 32 or 128 bits, an array of 4 or 16 bytes, 8
// integers of 16 bits or 4 of 32, a struct around one of these, such as in6_addr and sockaddr_in, or text. Bytes are in network
// order, unless meaning says otherwise.
func toAddress(v any, meaning decode.Meaning) (netip.Addr, error) {
	switch v := v.(type) {
	case string:
		if addr, err := netip.ParseAddr(v); err == nil {
			return addr, nil
		}
	case []any:
		if b, ok := addressBytes(v); ok {
			return addressOf(b, meaning), nil
		}
	case map[string]any:
		for _, name := range []string{"sin_addr", "sin6_addr", "in6_u", "__in6_u", "u6_addr8", "__u6_addr8", "s6_addr", "s_addr"} {
			if inner, ok := v[name]; ok {
				return toAddress(inner, meaning)
			}
		}
	case *big.Int:
		if v.Sign() >= 0 && v.BitLen() <= 128 {
			b := v.FillBytes(make([]byte, 16))
			slices.Reverse(b)
			return addressOf(b, meaning), nil
		}
	default:
		if n, ok := word(v); ok && n >= math.MinInt32 && n <= math.MaxUint32 {
			b := binary.LittleEndian.AppendUint32(nil, uint32(n))
			if meaning == decode.IPv4Host {
				slices.Reverse(b)
			}
			return addressOf(b, meaning), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s is not an IP address", kindOf(v))
}

// addressOf returns the address of 4 or 16 bytes.
func addressOf(b []byte, meaning decode.Meaning) netip.Addr {
	if meaning == decode.IPAddress && len(b) == 16 && !slices.ContainsFunc(b[4:], func(c byte) bool { return c != 0 }) {
		b = b[:4]
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// addressBytes returns the bytes of an address in an array. The width of the integers is not known: four integers
// are bytes if all are less than 256.
func addressBytes(list []any) ([]byte, bool) {
	var width int
	switch len(list) {
	case 16:
		width = 1
	case 8:
		width = 2
	case 4:
		width = 1
		if slices.ContainsFunc(list, func(v any) bool { n, ok := word(v); return !ok || n < 0 || n > math.MaxUint8 }) {
			width = 4
		}
	default:
		return nil, false
	}
	var b []byte
	for _, v := range list {
		n, ok := word(v)
		if !ok {
			return nil, false
		}
		b = append(b, binary.LittleEndian.AppendUint64(nil, uint64(n))[:width]...)
	}
	return b, true
}
