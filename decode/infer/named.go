package infer

import (
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/enumname"
)

// namedBy returns the enumerators that name the types of groups, by the group, and where their enum is: open_event after
// KIND_OPEN. All types have the enum at the same place. It returns nil if the names of no enum do that.
func namedBy(groups []*group) (tags map[*group]uint64, at spot) {
	if len(groups) < 2 {
		return nil, at
	}
	var names []string
	for _, g := range groups {
		names = append(names, g.typ.TypeName())
	}
	for _, n := range fieldsOf(groups[0].typ).numbers {
		if n.enum == nil || slices.ContainsFunc(groups, func(g *group) bool { return !hasEnum(g.typ, n) }) {
			continue
		}
		var enumerators []string
		for _, v := range n.enum.Values {
			enumerators = append(enumerators, v.Name)
		}
		found := enumname.Match(enumerators, names)
		if slices.Contains(found, -1) {
			continue
		}
		tags = map[*group]uint64{}
		for i, g := range groups {
			tags[g] = n.enum.Values[found[i]].Value & (1<<(8*n.at.size) - 1)
		}
		return tags, n.at
	}
	return nil, at
}

// hasEnum reports whether t has an enum like n at the same place.
func hasEnum(t btf.Type, n number) bool {
	return slices.ContainsFunc(fieldsOf(t).numbers, func(o number) bool {
		return o.at == n.at && o.enum != nil && slices.Equal(o.enum.Values, n.enum.Values)
	})
}
