package decode

import (
	"math"
	"slices"
	"strings"
)

// layout is a tree of the fields that are shown, with the operations for it.
type layout struct {
	root *node
	ops  []op // flatten(root)
}

func newLayout(root *node) layout { return layout{root, flatten(root, false)} }

// view is how records are decoded that have certain members of their unions.
type view struct {
	layout        // for JSON and Go values
	text   layout // the same, but structs that people read as one value are one
	when   *op    // loads the time of the record; nil if the type has none
	size   int    // bytes of the shortest record that has all fields
	column int    // number of the first column
}

// newView returns the view of records of type root that have at least size bytes. meanings are those known from
// outside the type.
func newView(root *node, size int, meanings map[int]Meaning) *view {
	return &view{layout: newLayout(root), text: newLayout(root.clone(true)), when: eventTime(root, meanings), size: size}
}

// clone returns a copy of the tree of n. If text is set, structs that text shows as one value are scalars in it.
func (n *node) clone(text bool) *node {
	m := *n
	if !n.object {
		return &m
	}
	if o, ok := n.single(); ok && text {
		m.op, m.object, m.fields, m.byName = o, false, nil, nil
		return &m
	}
	m.fields, m.byName = nil, make(map[string]*node, len(n.fields))
	for _, f := range n.fields {
		m.adopt(f.clone(text))
	}
	return &m
}

// single returns the operation for a struct that text shows as one value: an address, or the number that the
// struct wraps.
func (n *node) single() (o op, ok bool) {
	o = n.op
	switch {
	case n.meaning == NoMeaning:
		return o, false
	case n.meaning == SocketAddress:
		o.kind = kindBytes
	case n.size == 16:
		o.kind = kindUint128
	case isPowerOf2UpTo8(uint32(n.size)):
		o.kind, o.width = kindUint, n.size*8
	default:
		return o, false
	}
	o.least = o.off + int(o.size)
	return o, true
}

// pick returns a copy of the tree of n with only the fields that the paths lead to, in their order.
func pick(n *node, paths []string) *node {
	picked := &node{object: true, byName: make(map[string]*node)}
	for _, path := range paths {
		picked.take(n, strings.Split(path, "."))
	}
	picked.setLeast()
	return picked
}

// take adds to n the field of from that the path leads to.
func (n *node) take(from *node, path []string) {
	f, mine := from.byName[path[0]], n.byName[path[0]]
	switch {
	case f == nil || f.kind == kindRest: // see Printer.rest
	case mine != nil && len(mine.fields) == len(f.fields):
	case len(path) == 1:
		n.drop(mine) // a part of f
		n.adopt(f.clone(false))
	case f.object:
		part := mine
		if part == nil {
			part = &node{op: op{off: f.off, json: f.json, text: f.text}, name: f.name, object: true, byName: make(map[string]*node)}
		}
		part.take(f, path[1:])
		if part != mine && len(part.fields) > 0 {
			n.adopt(part)
		}
		part.setLeast()
	}
}

func (n *node) adopt(f *node) {
	n.fields = append(n.fields, f)
	n.byName[f.name] = f
}

// setLeast sets least of an object.
func (n *node) setLeast() {
	n.least = math.MaxInt
	for _, f := range n.fields {
		n.least = min(n.least, f.least)
	}
}

func (n *node) drop(f *node) {
	n.fields = slices.DeleteFunc(n.fields, func(m *node) bool { return m == f })
}

// leaves returns a copy of the tree of n in which the members of structs are fields of the record: src.port.
func (n *node) leaves() *node {
	m := *n
	if n.object {
		m.fields, m.byName = nil, make(map[string]*node)
		m.addLeaves(n, nil)
		m.setLeast()
	}
	return &m
}

func (n *node) addLeaves(from *node, path []byte) {
	for _, f := range from.fields {
		name := slices.Clip(append(slices.Clip(path), f.text...))
		if f.object {
			name[len(name)-1] = '.' // was '='
			n.addLeaves(f, name)
			continue
		}
		leaf := *f
		leaf.text = string(name)
		leaf.name = strings.TrimSuffix(leaf.text, "=")
		n.adopt(&leaf)
	}
}
