package filter

import (
	"fmt"
	"maps"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/expr-lang/expr/ast"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/near"
)

// words are the names that expressions for some types can use: of fields, of enumerators and of constants.
type words struct {
	fields      map[string]bool // outermost members
	paths       []string        // names of all members, for hints
	enumerators map[string]bool
	enums       map[string]bool    // paths of fields that are enums
	numbers     map[string][]int64 // those of enumerators; several if enums give a name different ones
}

func wordsOf(decoders []*decode.Codec) *words {
	w := &words{fields: map[string]bool{}, enumerators: map[string]bool{}, enums: map[string]bool{}, numbers: map[string][]int64{}}
	var add func(fields []decode.Field, outermost bool)
	add = func(fields []decode.Field, outermost bool) {
		for _, f := range fields {
			if len(f.Path) > 0 && outermost {
				w.fields[f.Path[0]] = true
			}
			w.paths = append(w.paths, f.Path...)
			for i, e := range f.Enumerators {
				w.enumerators[e] = true
				if n := f.Numbers[i]; !slices.Contains(w.numbers[e], n) {
					w.numbers[e] = append(w.numbers[e], n)
				}
			}
			if outermost && f.Enumerators != nil {
				w.enums[strings.Join(f.Path, ".")] = true
			}
			add(f.Elem, false)
		}
	}
	for _, d := range decoders {
		add(d.Fields(), true)
	}
	return w
}

// all returns all names that an expression can use, except those of constants.
func (w *words) all() []string {
	known := []string{nameSeq, namePos, nameLen, nameType, nameData}
	known = append(known, w.paths...)
	for e := range w.enumerators {
		known = append(known, e)
	}
	for f := range functions {
		known = append(known, f)
	}
	for f := range loops {
		known = append(known, f)
	}
	for f := range own {
		if f != enumNumber {
			known = append(known, strings.TrimSuffix(f, ownSuffix))
		}
	}
	return append(known, ofText...)
}

// constantNames returns the names of all constants.
func constantNames() []string {
	known := slices.Collect(maps.Keys(constants))
	for i := range maxErrno {
		known = append(known, unix.ErrnoName(syscall.Errno(i+1)))
	}
	for i := range unix.Signal(32) { // the real-time signals have no names
		known = append(known, unix.SignalName(i))
	}
	return known
}

var unknown = regexp.MustCompile(`unknown (name|field) (\w+)`)

// complete adds the nearest names to an error about an unknown one.
func (w *words) complete(err error) error {
	if m := unknown.FindStringSubmatch(err.Error()); m != nil {
		known := w.paths
		if m[1] == "name" {
			known = w.all()
			if strings.ToUpper(m[2]) == m[2] {
				known = append(known, constantNames()...)
			}
		}
		return fmt.Errorf("%w%s", err, near.Hint(m[2], known))
	}
	return err
}

// resolver replaces the names of enumerators and constants by their values, and marks calls of own functions.
type resolver struct {
	*words
	variables []string // names of let variables
	err       error
}

// resolve replaces the names in the tree that stand for constants.
func (s *syntax) resolve(w *words) error {
	used := &names{}
	ast.Walk(&s.tree.Node, used)
	r := &resolver{words: w, variables: used.variables}
	ast.Walk(&s.tree.Node, r)
	return r.err
}

// Visit handles a node after its children.
func (r *resolver) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok && own[callee.Value+ownSuffix] != nil {
			callee.Value += ownSuffix
		}
	case *ast.BuiltinNode:
		for i := range n.Arguments {
			if ofBits(n) {
				r.number(&n.Arguments[i])
			}
		}
	case *ast.BinaryNode:
		if ofBits(n.Left) {
			r.number(&n.Right)
		}
		if ofBits(n.Right) {
			r.number(&n.Left)
		}
	case *ast.IdentifierNode:
		if reserved(n.Value) || r.fields[n.Value] || slices.Contains(r.variables, n.Value) {
			return
		}
		if r.enumerators[n.Value] {
			ast.Patch(node, &ast.StringNode{Value: n.Value})
		} else if v, ok := constantNamed(n.Value); ok {
			ast.Patch(node, &ast.IntegerNode{Value: v})
		}
	}
}

// ofBits reports whether a node is a call of bitand or another function of bits.
func ofBits(node ast.Node) bool {
	call, ok := node.(*ast.BuiltinNode)
	return ok && strings.HasPrefix(call.Name, "bit")
}

// number replaces an enum, which is text elsewhere, by its number.
func (r *resolver) number(node *ast.Node) {
	if text, ok := (*node).(*ast.StringNode); ok && len(r.numbers[text.Value]) == 1 {
		ast.Patch(node, &ast.IntegerNode{Value: int(r.numbers[text.Value][0])})
	} else if r.enums[strings.TrimPrefix(pathOf(*node), nameData+".")] {
		ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: enumNumber}, Arguments: []ast.Node{*node}})
	}
}

// constants are the names of numbers that records often have and whose enum BTF often lacks: from
// include/net/tcp_states.h, include/linux/socket.h and include/uapi/linux/in.h.
var constants = map[string]int{
	"TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2, "TCP_SYN_RECV": 3, "TCP_FIN_WAIT1": 4, "TCP_FIN_WAIT2": 5, "TCP_TIME_WAIT": 6,
	"TCP_CLOSE": 7, "TCP_CLOSE_WAIT": 8, "TCP_LAST_ACK": 9, "TCP_LISTEN": 10, "TCP_CLOSING": 11, "TCP_NEW_SYN_RECV": 12,
	"AF_UNSPEC": unix.AF_UNSPEC, "AF_UNIX": unix.AF_UNIX, "AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6,
	"AF_NETLINK": unix.AF_NETLINK, "AF_PACKET": unix.AF_PACKET, "AF_VSOCK": unix.AF_VSOCK,
	"IPPROTO_IP": unix.IPPROTO_IP, "IPPROTO_ICMP": unix.IPPROTO_ICMP, "IPPROTO_TCP": unix.IPPROTO_TCP, "IPPROTO_UDP": unix.IPPROTO_UDP,
	"IPPROTO_IPV6": unix.IPPROTO_IPV6, "IPPROTO_ICMPV6": unix.IPPROTO_ICMPV6, "IPPROTO_SCTP": unix.IPPROTO_SCTP,
}

// maxErrno is the highest error number of the kernel that user space sees, EHWPOISON.
const maxErrno = 133

// constantNamed returns the number that a name stands for in C: of an error, a signal, or one of constants.
func constantNamed(name string) (int, bool) {
	switch {
	case strings.HasPrefix(name, "E"):
		for i := 1; i <= maxErrno; i++ {
			if unix.ErrnoName(syscall.Errno(i)) == name {
				return i, true
			}
		}
	case strings.HasPrefix(name, "SIG"):
		v := unix.SignalNum(name)
		return int(v), v != 0
	}
	v, ok := constants[name]
	return v, ok
}

// ownSuffix ends the names of own functions in a tree: a field can have the name of a function.
const ownSuffix = "()"

// enumNumber is an own function that only resolve calls.
const enumNumber = "the number of an enum" + ownSuffix

// own are the functions that expr does not have. Each takes one argument.
var own = map[string]func(w *words, arg any) (any, error){
	"ip" + ownSuffix:   func(_ *words, arg any) (any, error) { return parseNetwork(arg) },
	"port" + ownSuffix: func(_ *words, arg any) (any, error) { return networkPort(arg) },
	enumNumber:         (*words).numberOf,
	"uid" + ownSuffix: func(_ *words, arg any) (any, error) {
		return idOf(arg, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
	},
	"gid" + ownSuffix: func(_ *words, arg any) (any, error) {
		return idOf(arg, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
	},
}

// numberOf returns the number of an enum that is shown as text: an enumerator, several flags, or a number without a name.
func (w *words) numberOf(arg any) (any, error) {
	text, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("takes an enum")
	}
	var all int64
	for name := range strings.SplitSeq(text, "|") {
		switch numbers := w.numbers[name]; len(numbers) {
		case 0:
			n, err := strconv.ParseInt(name, 10, 64)
			if err != nil {
				return nil, err
			}
			all |= n
		case 1:
			all |= numbers[0]
		default:
			return nil, fmt.Errorf("%s has different values in different enums", name)
		}
	}
	return int(all), nil
}

// idOf returns the number of a user or group with the given name.
func idOf(arg any, lookup func(name string) (string, error)) (any, error) {
	name, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("takes a name in quotes")
	}
	id, err := lookup(name)
	if err != nil {
		return nil, err
	}
	return strconv.Atoi(id)
}

// networkPort swaps the bytes of a port: it returns the number of one in network order, and the other way round.
func networkPort(arg any) (any, error) {
	port, ok := word(arg)
	if !ok || port < 0 || port > 0xffff {
		return nil, fmt.Errorf("takes a number from 0 to 65535")
	}
	return port>>8 | port&0xff<<8, nil
}

// call compiles a call of an own function. Only port and enumNumber take a field; the value of the others is constant.
func (c *compiler) call(n *ast.CallNode) (expression, error) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || own[callee.Value] == nil {
		return nil, c.refuse(n, "calls of members")
	}
	arg, err := c.compile(n.Arguments[0]) // the type checker has counted the arguments
	if err != nil {
		return nil, err
	}
	at := c.position(n)
	call := func(s *scope) (any, error) {
		v, err := arg(s)
		if err != nil {
			return nil, err
		}
		if v, err = own[callee.Value](c.words, v); err != nil {
			return nil, fmt.Errorf("%s: %w %s", callee.Value, err, at)
		}
		return v, nil
	}
	if variable(n.Arguments[0]) {
		if callee.Value != "port"+ownSuffix && callee.Value != enumNumber {
			return nil, fmt.Errorf("%s takes a constant %s", callee.Value, at)
		}
		return call, nil
	}
	v, err := call(nil)
	return constant(v), err
}
