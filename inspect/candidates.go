package inspect

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/pin"
)

// Candidate is a reference that [Lookup] takes.
type Candidate struct {
	Ref   string // a name, an id ("id:12"), or the path of a pin
	About string // what the map is, in a few words
}

// harmless matches references that mean nothing to a shell. Other users choose the names of pins.
var harmless = regexp.MustCompile(`^[A-Za-z0-9_./:+-]+$`)

// Candidates returns references to the host's maps of the given types, of any type if none is given: names, then pins, then
// ids. It is for the completion in a shell: it leaves out references that a shell might evaluate, and what it cannot
// read. It opens no map for longer than the call.
func Candidates(types ...ebpf.MapType) []Candidate {
	r := resolver{types: types}
	all, _ := r.hostMaps() // without privileges, there are only pins
	var names, pins, ids []Candidate
	add := func(list *[]Candidate, ref, about string) {
		if harmless.MatchString(ref) {
			*list = append(*list, Candidate{ref, about})
		}
	}
	for _, m := range all {
		if !r.wants(m.Type) {
			continue
		}
		add(&names, m.Name, fmt.Sprintf("%s, id:%d", maptype.Name(m.Type), m.ID))
		add(&ids, fmt.Sprintf("id:%d", m.ID), cmp.Or(m.Name, "no name")+", "+maptype.Name(m.Type))
	}
	mounts, _ := bpffs.Mounts()
	for e, err := range everyPin(mounts) {
		if err == nil && e.Kind == pin.KindMap && r.wants(e.Type) {
			add(&pins, e.Path, cmp.Or(e.Name, "no name")+", "+maptype.Name(e.Type))
		}
	}
	slices.SortStableFunc(names, func(a, b Candidate) int { return cmp.Compare(a.Ref, b.Ref) })
	names = slices.CompactFunc(names, func(a, b Candidate) bool { return a.Ref == b.Ref })
	return append(append(names, pins...), ids...)
}
