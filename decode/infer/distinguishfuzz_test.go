package infer

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// fuzzInput yields the bytes of a fuzz input, then zeros.
type fuzzInput []byte

func (s *fuzzInput) next(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

// site makes a site of one of types, or of no type.
func (s *fuzzInput) site(types []btf.Type) *Site {
	var t btf.Type
	if n := s.next(len(types) + 1); n < len(types) {
		t = types[n]
	}
	least := int64(s.next(48))
	most := least + int64(s.next(3)*s.next(16))
	if s.next(8) == 0 {
		most = -1
	}
	made := sized(t, least, most)
	made.flow.Escapes = s.next(8) == 0
	made.prefix, made.header = s.next(4) == 0, s.next(4) == 0
	for range s.next(5) {
		w := recordflow.Write{Func: "f", Ins: len(made.flow.Writes), Off: int64(4 * s.next(3)), Size: 4}
		switch s.next(6) {
		case 0:
			w.By = "bpf_probe_read_kernel"
		case 1:
			w.Off, w.Least = -1, int64(s.next(12))
		case 2:
			w.Off, w.Size, w.Constant, w.Const = w.Off+int64(s.next(4)), 1, true, uint64(1+s.next(3))
		default:
			w.Constant, w.Const = true, uint64(1+s.next(3))
		}
		made.flow.Writes = append(made.flow.Writes, w)
	}
	return made
}

// record makes a record of a site: each write is made, in any order, since the paths of the program are not known.
func (s *fuzzInput) record(from *Site) []byte {
	n := int(from.flow.Min)
	if from.flow.Max < 0 {
		n += s.next(64)
	} else {
		n += s.next(int(from.flow.Max-from.flow.Min) + 1)
	}
	if size, err := btf.Sizeof(from.Type); err == nil && from.prefix && int64(size) >= from.flow.Min {
		n = min(n, size)
	}
	b := make([]byte, n+64)
	for i := range b {
		b[i] = byte(s.next(4))
	}
	writes := append([]recordflow.Write(nil), from.flow.Writes...)
	for len(writes) > 0 {
		i := s.next(len(writes))
		w := writes[i]
		writes = append(writes[:i], writes[i+1:]...)
		off := w.Off
		if off < 0 {
			off = w.Least + int64(s.next(8))
		}
		v := w.Const
		if !w.Constant {
			v = uint64(s.next(256))
		}
		copy(b[off:], binary.LittleEndian.AppendUint64(nil, v)[:w.Size])
	}
	return b[:n]
}

func fuzzTypes() []btf.Type {
	kind := &btf.Enum{Name: "kind", Size: 4, Values: []btf.EnumValue{{Name: "A", Value: 1}, {Name: "B", Value: 2}, {Name: "C", Value: 3}}}
	d := &btf.Struct{Name: "d", Size: 12, Members: []btf.Member{member("h", event("e", 8), 0), member("kind", kind, 8)}}
	return []btf.Type{event("a", 24), event("b", 24), event("c", 32), d}
}

// FuzzDistinguish makes sites and records of them. A record is never shown as another type that is certain.
func FuzzDistinguish(f *testing.F) {
	f.Add([]byte{2, 0, 24, 0, 0, 1, 1, 1, 1, 1, 0, 3, 0, 1, 24, 0, 0, 1, 1, 1, 1, 1, 0, 3, 1})
	f.Add([]byte{3, 3, 0, 0, 0, 0, 1, 1, 1, 0, 0, 24, 0, 0, 1, 1, 1, 1, 1, 0, 3, 0, 2, 8, 2, 9})
	f.Fuzz(func(t *testing.T, input []byte) {
		types := fuzzTypes()
		s := fuzzInput(input)
		var sites []*Site
		for range 1 + s.next(5) {
			sites = append(sites, s.site(types))
		}
		r := &Result{Sites: sites}
		r.combine()
		if r.Set == nil {
			return
		}
		for range 8 {
			from := sites[s.next(len(sites))]
			record := s.record(from)
			d, err := r.Set.Codec(record)
			if err != nil || len(record) == 0 {
				continue
			}
			least, other := Certain, false
			for _, o := range sites {
				if o.Type == d.Type() {
					least, other = min(least, o.Certainty), o.Type != from.Type
				}
			}
			if other && least == Certain {
				t.Errorf("record %x of a site of %v is shown as %s, certain: %s\n%s", record, from.Type, d.Name(), r.Set, r.Why)
			}
		}
	})
}
