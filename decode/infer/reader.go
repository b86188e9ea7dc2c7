package infer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/objects"
	"github.com/rbtool/rbtool/internal/sametype"
)

// askReaders looks in the owners' executables in Go for the structs into which they read the records: in DWARF, or in the type
// information of the runtime. The fields of such a struct name bytes of reconstructed records that no source line names. Of
// records of unknown type the structs of their size are only offered.
func (s *search) askReaders(sites []*Site) {
	asked := slices.DeleteFunc(slices.Clone(sites), func(s *Site) bool { return s.Size <= 0 || !s.lacksNames() })
	pids, err := s.holders()
	if err != nil || len(pids) == 0 || len(asked) == 0 {
		return
	}
	found := objects.DebugOf(s.ctx, objects.DebugOptions{Limit: maxReader, Language: objects.Go}, pids...)
	structs := map[int64][]located{} // by size
	for _, site := range asked {
		types, ok := structs[site.Size]
		if !ok && s.ctx.Err() == nil {
			types = readersOf(found, site.Size)
			structs[site.Size] = types
		}
		if site.Type != nil {
			site.nameBytes(types)
		} else {
			site.offer(types)
		}
	}
}

// maxReader is the size limit of a section of DWARF of Go, in bytes: it takes 0.1 s.
const maxReader = 5 << 19

// lacksNames reports whether the type of the records is unknown, or reconstructed with bytes that have no name.
func (s *Site) lacksNames() bool {
	return s.Type == nil || s.KnownBy == reconstructed && !s.header &&
		slices.ContainsFunc(membersOf(s.Type), func(m btf.Member) bool { return strings.HasPrefix(m.Name, unnamed) })
}

// maxPadding is how many bytes of padding a struct has that encoding/binary reads from records without padding.
const maxPadding = 64

// readersOf returns the structs of Go that a record of size bytes fills: by a cast of its address, or by encoding/binary,
// for which fields have no padding.
func readersOf(found []objects.Debug, size int64) (types []located) {
	for _, d := range found {
		for padding := range int64(maxPadding) {
			for _, t := range d.Structs(size + padding) {
				packed, length := binaryLayout(t)
				switch {
				case packed == nil || len(types) == maxLocated:
				case int64(length) == size:
					types = append(types, located{typ: packed, in: d.In})
				case padding == 0:
					types = append(types, located{typ: t, in: d.In})
				}
			}
		}
	}
	return types
}

// binaryLayout returns t as encoding/binary reads it, without padding, and its length; nil if it has strings or pointers, which
// no record fills. Structs in it must have no padding.
func binaryLayout(t btf.Type) (*btf.Struct, int) {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok {
		return nil, 0
	}
	packed, end := &btf.Struct{Name: t.TypeName(), Members: slices.Clone(s.Members)}, 0
	for i, m := range s.Members {
		n, err := btf.Sizeof(m.Type)
		if err != nil || !plain(m.Type, maxNesting) {
			return nil, 0
		}
		packed.Members[i].Offset = btf.Bits(end * 8)
		end += n
	}
	packed.Size = uint32(end)
	return packed, end
}

// plain reports whether t is of numbers alone, without padding.
func plain(t btf.Type, depth int) bool {
	if depth == 0 {
		return false
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Int, *btf.Float, *btf.Enum:
		return true
	case *btf.Array:
		return plain(t.Type, depth-1)
	case *btf.Struct:
		end := btf.Bits(0)
		for _, m := range t.Members {
			n, err := btf.Sizeof(m.Type)
			if err != nil || m.Offset != end || !plain(m.Type, depth-1) {
				return false
			}
			end += btf.Bits(n * 8)
		}
		return end == btf.Bits(t.Size)*8
	}
	return false
}

// nameBytes names bytes of the reconstructed records by the struct among found that has the most of the fields that lines
// name, at least two and half of them. If several have as many, but name other fields, it names none.
func (s *Site) nameBytes(found []located) {
	record := s.Type.(*btf.Struct)
	known := namedMembers(record)
	var best *btf.Struct
	var in located
	most, rival := max(2, (len(known)+1)/2), false
	for _, f := range found {
		alike := fieldsAlike(known, f.typ)
		if alike < most || misfit(f.typ, s.flow.Writes) != "" {
			continue
		}
		named := withNames(record, f.typ)
		switch {
		case named == nil:
		case best == nil || alike > most:
			best, in, most, rival = named, f, alike, false
		case !sametype.Same(best, named):
			rival = true
		}
	}
	if best == nil || rival {
		return
	}
	s.Type = best
	s.Why += fmt.Sprintf("; names of %d more are those of %s in %s, which has %d of the other fields",
		len(namedMembers(best))-len(known), in.typ.TypeName(), in.in, most)
}

// fieldsAlike returns how many of the known members a struct of Go has. Its names have other cases and no underscores.
func fieldsAlike(known map[placed]bool, t btf.Type) (alike int) {
	has := map[placed]bool{}
	for p := range placesOf(t) {
		has[placed{folded(p.name), p.off}] = true
	}
	for p := range known {
		if has[placed{folded(p.name), p.off}] {
			alike++
		}
	}
	return alike
}

// folded returns a name as those of C and Go have in common.
func folded(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// withNames returns the record with the fields of t in place of bytes without a name. It returns nil if t names none
// of them, or one as another member.
func withNames(record *btf.Struct, t btf.Type) *btf.Struct {
	named, taken := *record, map[string]bool{}
	named.Members = nil
	for _, m := range record.Members {
		taken[m.Name] = true
	}
	for _, m := range record.Members {
		n, err := btf.Sizeof(m.Type)
		var fields []btf.Member
		if strings.HasPrefix(m.Name, unnamed) && err == nil {
			fields = fieldsIn(t, m.Offset, m.Offset+btf.Bits(n*8))
		}
		for _, f := range fields {
			if taken[f.Name] {
				return nil
			}
			taken[f.Name] = true
		}
		if fields == nil {
			fields = []btf.Member{m}
		}
		named.Members = append(named.Members, fields...)
	}
	if len(namedMembers(&named)) == len(namedMembers(record)) {
		return nil
	}
	return &named
}

// fieldsIn returns the fields of t from lo to hi, if they fill these bytes but for padding at the end; nil otherwise. Their names
// are those that C would have.
func fieldsIn(t btf.Type, lo, hi btf.Bits) (fields []btf.Member) {
	at := lo
	for _, m := range membersOf(t) {
		n, err := btf.Sizeof(m.Type)
		end := m.Offset + btf.Bits(n*8)
		switch {
		case err != nil || m.Offset < hi && end > hi || m.Offset < lo && end > lo:
			return nil
		case m.Offset < lo || m.Offset >= hi || m.Name == "_":
			continue
		case m.Offset != at && len(fields) == 0:
			return nil
		}
		m.Name = snake(m.Name)
		fields, at = append(fields, m), end
	}
	return fields
}

// snake returns a name of Go in the case of C: ExitCode is exit_code, and SrcIP src_ip.
func snake(name string) string {
	var out strings.Builder
	letters := []rune(name)
	for i, c := range letters {
		if i > 0 && unicode.IsUpper(c) && (!unicode.IsUpper(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1])) && letters[i-1] != '_' {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(c))
	}
	return out.String()
}

// maxOffered bounds the structs that are offered for records of unknown type.
const maxOffered = 3

// offer says which structs the records can be: those that are called like the type that a source line names, or an event.
func (s *Site) offer(found []located) {
	var offers []string
	for _, f := range found {
		name := f.typ.TypeName()
		own := folded(name[strings.LastIndexByte(name, '.')+1:])
		if !strings.Contains(own, "event") && (s.lacks == "" || !strings.HasSuffix(own, folded(s.lacks))) || misfit(f.typ, s.flow.Writes) != "" {
			continue
		}
		if offer := fmt.Sprintf("--type %s, in %s", name, f.in); !slices.Contains(offers, offer) {
			offers = append(offers, offer)
		}
	}
	if len(offers) > 0 && len(offers) <= maxOffered {
		s.because("they can be what the ring's reader has: %s", strings.Join(offers, "; "))
	}
}
