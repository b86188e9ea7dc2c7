package infer

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// placed is a named member at an offset in bytes.
type placed struct {
	name string
	off  int64
}

// maxMembers bounds the members of one type that are looked at.
const maxMembers = 1 << 14

// placesOf returns the named members of t, on all levels, with their offsets. Of an array it returns those of the
// first element.
func placesOf(t btf.Type) map[placed]bool {
	found := map[placed]bool{}
	budget := maxMembers
	addPlaces(found, t, 0, maxNesting, &budget)
	return found
}

func addPlaces(found map[placed]bool, t btf.Type, off int64, depth int, budget *int) {
	if *budget--; depth == 0 || *budget < 0 {
		return
	}
	if a, ok := btf.UnderlyingType(t).(*btf.Array); ok {
		addPlaces(found, a.Type, off, depth-1, budget)
		return
	}
	for _, m := range membersOf(t) {
		at := off + int64(m.Offset/8)
		if m.Name != "" {
			found[placed{m.Name, at}] = true
		}
		addPlaces(found, m.Type, at, depth-1, budget)
	}
}

// agreement says how the members of a type agree with those that the source lines of a site's writes name.
type agreement struct{ alike, unlike int }

// agree compares the members of t with those that lines name.
func (s *Site) agree(t btf.Type) (a agreement) {
	if s.named == nil {
		return a
	}
	has := placesOf(t)
	for p := range s.named {
		if has[p] {
			a.alike++
		} else {
			a.unlike++
		}
	}
	return a
}

// confirms reports that the names in the lines leave no doubt that the type is the one.
func (a agreement) confirms() bool { return a.alike > 1 && a.unlike == 0 }

// names reports whether lines name a part of each member of t, and t has all that they name.
func (s *Site) names(t btf.Type) bool {
	if a := s.agree(t); !a.confirms() {
		return false
	}
	var offs []int64
	for p := range s.named {
		offs = append(offs, p.off)
	}
	slices.Sort(offs)
	for _, m := range membersOf(t) {
		size, err := btf.Sizeof(m.Type)
		at := int64(m.Offset / 8)
		next, _ := slices.BinarySearch(offs, at)
		if err != nil || next == len(offs) || offs[next] >= at+int64(max(size, 1)) {
			return false
		}
	}
	return true
}

// score is how much more the names speak for the type than against it.
func (a agreement) score() int { return a.alike - a.unlike }

// refutes reports that the lines write members that the type does not have.
func (a agreement) refutes() bool { return a.unlike > 0 && a.unlike >= a.alike }

// namedMembers returns the members that the lines name, from the layout that they give. A struct in it
// begins where the first member that is known does, so only members without members are compared.
func namedMembers(layout *btf.Struct) map[placed]bool {
	found := map[placed]bool{}
	budget := maxMembers
	addLeaves(found, layout, 0, maxNesting, &budget)
	return found
}

func addLeaves(found map[placed]bool, t btf.Type, off int64, depth int, budget *int) {
	if *budget--; depth == 0 || *budget < 0 {
		return
	}
	for _, m := range membersOf(t) {
		at := off + int64(m.Offset/8)
		switch elem, isArray := btf.UnderlyingType(m.Type).(*btf.Array); {
		case object(m.Type) != nil:
			addLeaves(found, m.Type, at, depth-1, budget)
		case isArray && object(elem.Type) != nil:
			addLeaves(found, elem.Type, at, depth-1, budget)
		case !strings.HasPrefix(m.Name, unnamed):
			found[placed{m.Name, at}] = true
		}
	}
}

// unnamed begins the names that package reconstruct gives to bytes without a name.
const unnamed = "at_"
