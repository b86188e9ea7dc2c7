package reconstruct

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// node is a member of the struct that is built: an item, or a struct that has some.
type node struct {
	layout   *layout
	name     string
	off, end int64
	item     *item   // nil if only members or elements are known
	elem     *item   // the elements of an array of numbers
	kids     []*node // the members
	array    bool    // kids are the members of an element
	stride   int64
	count    int64
}

// members returns the members of the record from the byte lo up to hi. Bytes of unknown meaning are members as
// well.
func (l *layout) members(lo, hi int64) []btf.Member {
	root := &node{layout: l, off: lo, end: hi}
	for _, i := range l.items {
		root.add(i, 0, i.end())
	}
	return root.members(lo, lo, hi)
}

// add adds an item below n, which is depth steps deep. It ends at end: in the first element, if n is in an array.
func (n *node) add(i *item, depth int, end int64) {
	if n.end == 0 {
		n.off = i.off
	}
	n.off, n.end = min(n.off, i.off), max(n.end, end)
	if depth == len(i.path) {
		n.item = i
		return
	}
	step := i.path[depth]
	if step.Member == "" {
		n.array, n.stride, n.count = true, i.stride, max(n.count, i.count)
		if depth+1 == len(i.path) {
			n.elem = i
			return
		}
		step, depth = i.path[depth+1], depth+1
		end = i.off + i.size
	}
	for _, k := range n.kids {
		if k.name == step.Member {
			k.add(i, depth+1, end)
			return
		}
	}
	k := &node{layout: n.layout, name: step.Member}
	n.kids = append(n.kids, k)
	k.add(i, depth+1, end)
}

// members returns the members between the bytes lo and hi of the record, of a struct that begins at base.
func (n *node) members(base, lo, hi int64) []btf.Member {
	slices.SortStableFunc(n.kids, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(b.end, a.end))
	})
	var all []btf.Member
	at := lo
	for i := 0; i < len(n.kids); {
		k := n.kids[i]
		if next := n.startAfter(i, hi); k.array && k.off+k.stride*k.count <= next {
			k.end = max(k.end, k.off+k.stride*k.count)
		}
		group, end := 1, k.end
		for i+group < len(n.kids) && n.kids[i+group].off < end {
			end = max(end, n.kids[i+group].end)
			group++
		}
		all = n.appendGap(all, base, at, k.off, k.align())
		m := btf.Member{Name: k.name, Type: k.typ(), Offset: btf.Bits(k.off-base) * 8}
		if group > 1 {
			m.Name, m.Type = "", union(n.kids[i:i+group], end-k.off)
		}
		all = append(all, m)
		at, i = end, i+group
	}
	return n.appendGap(all, base, at, hi, n.align())
}

// startAfter returns where the member after the one with this index starts, or hi.
func (n *node) startAfter(i int, hi int64) int64 {
	if i+1 < len(n.kids) {
		return n.kids[i+1].off
	}
	return hi
}

// union returns the union of members that lie at one place.
func union(kids []*node, size int64) btf.Type {
	u := &btf.Union{Size: uint32(size)}
	base := kids[0].off
	for _, k := range kids {
		m := btf.Member{Name: k.name, Type: k.typ()}
		if k.off > base {
			m.Offset = btf.Bits(k.off-base) * 8
			m = btf.Member{Type: &btf.Struct{Size: uint32(k.end - base), Members: []btf.Member{m}}}
		}
		u.Members = append(u.Members, m)
	}
	return u
}

// appendGap adds a member for the bytes from lo to hi of the record, unless they align what follows.
func (n *node) appendGap(all []btf.Member, base, lo, hi, align int64) []btf.Member {
	if hi <= lo || hi-lo < align && hi%align == 0 && !n.layout.isWritten(lo, hi) {
		return all
	}
	return append(all, btf.Member{
		Name: placeName(lo), Type: byteArray(hi - lo), Offset: btf.Bits(lo-base) * 8,
	})
}

// placeName returns the name of a member that has none.
func placeName(off int64) string { return fmt.Sprintf("at_%d", off) }

// isWritten reports whether a site writes something else than zeros between two offsets.
func (l *layout) isWritten(lo, hi int64) bool {
	for _, e := range l.sites {
		for _, w := range e.site.Writes {
			if w.Off < 0 || w.Off >= hi || w.Off+w.Size <= lo {
				continue
			}
			if below := 8 * uint(max(lo-w.Off, 0)); !w.Constant || w.Const>>below != 0 {
				return true
			}
		}
	}
	return false
}

// align returns the alignment of the member in bytes.
func (n *node) align() int64 {
	if len(n.kids) == 0 {
		if i := cmp.Or(n.item, n.elem); i != nil && !i.whole && i.kind() == number {
			return i.size
		}
		return 1
	}
	a := int64(1)
	for _, k := range n.kids {
		a = max(a, k.align())
	}
	return a
}

// typ returns the type of a member.
func (n *node) typ() btf.Type {
	size := n.end - n.off
	switch {
	case n.array && n.item != nil && n.item.kind() == text, !n.array && len(n.kids) == 0:
		return n.item.typ()
	case !n.array:
		return &btf.Struct{Size: uint32(size), Members: n.members(n.off, n.off, n.end)}
	case size%n.stride != 0 || len(n.kids) > 0 && n.elem != nil:
		return byteArray(size)
	}
	a := &btf.Array{Index: types[4], Nelems: uint32(size / n.stride)}
	if n.elem != nil {
		a.Type = n.elem.typ()
	} else {
		a.Type = &btf.Struct{Size: uint32(n.stride), Members: n.members(n.off, n.off, n.off+n.stride)}
	}
	return a
}

// kind is how a member is shown.
type kind uint8

const (
	number  kind = iota // an integer
	boolean             // bool
	text                // a char array
	opaque              // bytes
)

func (i *item) kind() kind {
	if i.text {
		return text
	}
	for _, w := range i.writes {
		if w.text || isText(w.By) {
			return text
		}
	}
	switch {
	case i.size > 8 && strings.HasSuffix(i.path[len(i.path)-1].Member, "comm"):
		return text // the name of a task, that is copied
	case i.whole || i.size != 1 && i.size != 2 && i.size != 4 && i.size != 8:
		return opaque
	case i.size == 1 && i.isBool():
		return boolean
	}
	return number
}

// isBool reports whether the program assigns nothing but true and false.
func (i *item) isBool() bool {
	return !slices.ContainsFunc(i.writes, func(w namedWrite) bool {
		v := w.value()
		return v != "true" && v != "false"
	})
}

// value returns the text of the value that is assigned.
func (w *namedWrite) value() string {
	if w.assign == nil {
		return ""
	}
	end := min(w.assign.End, len(w.Write.Line.Text)+1)
	return strings.TrimSpace(w.Write.Line.Text[w.assign.Start-1 : end-1])
}

// negative matches the names of members that have a negative errno or -1.
var negative = regexp.MustCompile(`(?:^|_)(?:ret|retval|rc|err|errno|error|d?fd)$`)

// isSigned reports whether a number can be negative: the program assigns a negative constant, or the name says so.
func (i *item) isSigned() bool {
	return i.size >= 4 && negative.MatchString(i.path[len(i.path)-1].Member) || slices.ContainsFunc(i.writes, func(w namedWrite) bool { return strings.HasPrefix(w.value(), "-") })
}

func (i *item) typ() btf.Type {
	switch i.kind() {
	case text:
		return &btf.Array{Index: types[4], Type: char, Nelems: uint32(i.size)}
	case boolean:
		return boolType
	case opaque:
		return byteArray(i.size)
	}
	if i.isSigned() {
		return signed[i.size]
	}
	return types[i.size]
}

var (
	char     = &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	boolType = &btf.Int{Name: "bool", Size: 1, Encoding: btf.Bool}
	types    = map[int64]*btf.Int{1: {Name: "u8", Size: 1}, 2: {Name: "u16", Size: 2}, 4: {Name: "u32", Size: 4}, 8: {Name: "u64", Size: 8}}
	signed   = map[int64]*btf.Int{
		1: {Name: "s8", Size: 1, Encoding: btf.Signed}, 2: {Name: "s16", Size: 2, Encoding: btf.Signed},
		4: {Name: "s32", Size: 4, Encoding: btf.Signed}, 8: {Name: "s64", Size: 8, Encoding: btf.Signed},
	}
)

func byteArray(n int64) btf.Type {
	return &btf.Array{Index: types[4], Type: types[1], Nelems: uint32(n)}
}
