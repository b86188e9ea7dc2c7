package infer

import (
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/sametype"
	"github.com/rbtool/rbtool/internal/srcline"
)

// array sets the type of records that are nothing but an array: a member of a map's value, or text that the program
// declares. Bytes are none, they are memory for anything. It reports whether the records are an array.
func (s *Site) array() bool {
	if s.Size < 1 || s.scalar() != "" || s.drain != nil {
		return false
	}
	m, why := s.arrayInMemory()
	if m.Name == "" {
		m, why = s.text()
	}
	if m.Name == "" {
		return false
	}
	m.Offset = 0
	s.Type = &btf.Struct{Name: "record", Size: uint32(s.Size), Members: []btf.Member{m}}
	s.Certainty, s.KnownBy, s.Why = Likely, reconstructed, why+"; "+s.Why
	return true
}

// arrayInMemory returns the array that an output copies: a member of the value of a map, or of a variable.
func (s *Site) arrayInMemory() (btf.Member, string) {
	if len(s.flow.Data) == 0 {
		return btf.Member{}, ""
	}
	d := s.flow.Data[0]
	switch d.Kind {
	case recordflow.Variable:
		for _, src := range s.program.sources {
			if v, off, ok := src.at(s.program.maps[d.Map].Name, d.Off); ok && src.same {
				return arrayAt(v.typ, off, s.Size), "it is an array in the variable " + v.name
			}
		}
	case recordflow.Element:
		if t, name := s.program.element(d.Map); t != nil {
			return arrayAt(t, d.Off, s.Size), "it is an array in an element of the map " + name
		}
	}
	return btf.Member{}, ""
}

// arrayAt returns the member at off of t, or of a struct in t, that is an array of size bytes of numbers or characters.
func arrayAt(t btf.Type, off, size int64) btf.Member {
	for range maxNesting {
		st, ok := btf.UnderlyingType(t).(*btf.Struct)
		if !ok || off < 0 {
			break
		}
		i := slices.IndexFunc(st.Members, func(m btf.Member) bool {
			n, err := btf.Sizeof(m.Type)
			at := int64(m.Offset / 8)
			return err == nil && m.BitfieldSize == 0 && at <= off && off < at+int64(n)
		})
		if i < 0 {
			break
		}
		m := st.Members[i]
		if n, _ := btf.Sizeof(m.Type); int64(n) == size && int64(m.Offset/8) == off && untyped(m.Type) && !isBytes(m.Type) {
			return m
		}
		t, off = m.Type, off-int64(m.Offset/8)
	}
	return btf.Member{}
}

// isBytes reports whether t is an array of bytes that are no characters.
func isBytes(t btf.Type) bool {
	a, ok := btf.UnderlyingType(t).(*btf.Array)
	if !ok {
		return false
	}
	n, err := btf.Sizeof(a.Type)
	return err == nil && n == 1 && sametype.Unqualified(a.Type).TypeName() != "char"
}

// text returns the array of characters that the program declares as the record: "char msg[] = ...", or a pointer that gets a
// reserved record. Nothing else than text is written to it.
func (s *Site) text() (btf.Member, string) {
	name := s.variable()
	if name == "" || slices.ContainsFunc(s.flow.Writes, isNoText) {
		return btf.Member{}, ""
	}
	declared := s.program.function(s.flow.Func).declarations(name)
	if len(declared) == 0 {
		return btf.Member{}, ""
	}
	for _, d := range declared {
		if d.typ != (srcline.TypeName{Name: "char", Pointer: s.flow.Call != recordflow.Output}) {
			return btf.Member{}, ""
		}
	}
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	index := &btf.Int{Name: "__u32", Size: 4}
	return btf.Member{Name: name, Type: &btf.Array{Index: index, Type: char, Nelems: uint32(s.Size)}}, "its declaration says that it is text"
}

// isNoText reports whether a write stores a number of more than a byte that is not constant.
func isNoText(w recordflow.Write) bool { return w.By == "" && !w.Constant && w.Size != 1 }
