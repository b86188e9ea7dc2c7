package decode

import (
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/enumname"
)

// armsOf returns the arms of the unions of t that the names of an enum in front of them tell, see [New].
func armsOf(t btf.Type) []Arm {
	f := armFinder{left: maxFields}
	f.add(t, 0, 0)
	var arms []Arm
	for _, u := range f.unions {
		if found := f.armsOf(u); len(arms) == 0 || len(found) > 0 && found[0].Tag.at() == arms[0].Tag.at() {
			arms = append(arms, found...)
		}
	}
	return arms
}

func (t *Tag) at() spot { return spot{t.Off, t.Size} }

// armFinder finds the enums and unions of a type that every record has once.
type armFinder struct {
	enums  []enumAt
	unions []unionAt
	left   int // members that can still be visited
}

type enumAt struct {
	off int
	typ *btf.Enum
}

type unionAt struct {
	off int
	typ *btf.Union
}

func (f *armFinder) add(t btf.Type, off, depth int) {
	if f.left--; f.left < 0 || depth > maxDepth {
		return
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Enum:
		f.enums = append(f.enums, enumAt{off, t})
	case *btf.Union:
		f.unions = append(f.unions, unionAt{off, t})
	case *btf.Struct:
		for _, m := range t.Members {
			if m.BitfieldSize == 0 {
				f.add(m.Type, off+int(m.Offset/8), depth+1)
			}
		}
	}
}

// armsOf returns the arms of u if exactly one enum in front of it names them all.
func (f *armFinder) armsOf(u unionAt) (arms []Arm) {
	for _, e := range f.enums {
		if e.off >= u.off || !isPowerOf2UpTo8(e.typ.Size) {
			continue
		}
		found := match(e, u)
		if found != nil && arms != nil {
			return nil
		}
		if found != nil {
			arms = found
		}
	}
	return arms
}

// match returns the arms of u if each of its members, apart from arrays of raw bytes, has the name of one enumerator
// of e.
func match(e enumAt, u unionAt) (arms []Arm) {
	var members []string
	for _, m := range u.typ.Members {
		members = append(members, m.Name)
	}
	for i, at := range enumname.Match(namesOf(e.typ), members) {
		if at < 0 && isRaw(u.typ.Members[i].Type) {
			continue
		}
		if at < 0 {
			return nil
		}
		tag := Tag{Off: e.off, Size: int(e.typ.Size), Values: []uint64{e.typ.Values[at].Value}}
		arms = append(arms, Arm{Tag: tag, Union: u.off, Member: i})
	}
	if len(arms) < 2 {
		return nil
	}
	return arms
}

// namesOf returns the names of enumerators.
func namesOf(e *btf.Enum) (names []string) {
	for _, v := range e.Values {
		names = append(names, v.Name)
	}
	return names
}

// isRaw reports whether t is an array of bytes.
func isRaw(t btf.Type) bool {
	a, ok := btf.UnderlyingType(t).(*btf.Array)
	if !ok {
		return false
	}
	size, err := btf.Sizeof(a.Type)
	return err == nil && size == 1
}
