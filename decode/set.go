package decode

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

var (
	// ErrNoMatch says that none of the types of a Set is the record's.
	ErrNoMatch = errors.New("no type for the record")

	// ErrAmbiguous says that records of several types cannot be told apart.
	ErrAmbiguous = errors.New("types cannot be told apart")
)

// Set has the types of the records of one ring, and tells which is a record's.
type Set struct {
	decoders []*Decoder
	only     *Decoder
	tag      op // loads the tag where byTag is not nil
	byTag    map[uint64]*Decoder
	byLength map[int]*Decoder
}

// NewSet makes a Set of types that are told apart, in this order, by
//   - there being one type only;
//   - a tag: all are structs whose first member is one and the same enum, and
//     the name of each struct is that of an enumerator, in whatever case, which
//     is then the tag of its records;
//   - their length: all have different ones, and none can be cut off.
//
// Its error is [ErrAmbiguous] when none of these holds.
func NewSet(types ...btf.Type) (*Set, error) {
	if len(types) == 1 {
		d, err := New(types[0])
		if err != nil {
			return nil, err
		}
		return &Set{decoders: []*Decoder{d}, only: d}, nil
	}
	if tags := tagsOf(types); tags != nil {
		return NewTagged(tags)
	}
	return newByLength(types)
}

// NewTagged makes a Set of structs whose first member is an integer or enum
// that says the type: tags has the type for each of its values. That member
// must have the same size in all.
func NewTagged(tags map[uint64]btf.Type) (*Set, error) {
	s := &Set{byTag: make(map[uint64]*Decoder, len(tags))}
	for _, value := range slices.Sorted(maps.Keys(tags)) {
		t := tags[value]
		d, err := New(t)
		if err != nil {
			return nil, err
		}
		tag, ok := tagOp(t)
		if !ok || len(s.decoders) > 0 && tag.size != s.tag.size {
			return nil, fmt.Errorf("compile type %q: %w: its first member is no tag, or not of the size of the others'",
				d.name, ErrAmbiguous)
		}
		s.tag = tag
		s.byTag[lowBits(value, tag.width)] = d
		s.decoders = append(s.decoders, d)
	}
	return s, nil
}

// tagOp loads the first member of t, if that can be a tag.
func tagOp(t btf.Type) (op, bool) {
	first, ok := firstMember(t)
	if !ok {
		return op{}, false
	}
	var size uint32
	switch t := btf.UnderlyingType(first.Type).(type) {
	case *btf.Int:
		size = t.Size
	case *btf.Enum:
		size = t.Size
	}
	return op{size: uint8(size), width: uint8(size * 8)}, isPowerOf2UpTo8(size)
}

func firstMember(t btf.Type) (btf.Member, bool) {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok || len(s.Members) == 0 || s.Members[0].BitfieldSize > 0 || s.Members[0].Offset != 0 {
		return btf.Member{}, false
	}
	return s.Members[0], true
}

// NewByLength makes a Set of types that are told apart by the length of their
// records: only records of exactly these lengths are decoded.
func NewByLength(lengths map[int]btf.Type) (*Set, error) {
	s := &Set{byLength: make(map[int]*Decoder, len(lengths))}
	for _, length := range slices.Sorted(maps.Keys(lengths)) {
		d, err := New(lengths[length])
		if err != nil {
			return nil, err
		}
		s.byLength[length] = d
		s.decoders = append(s.decoders, d)
	}
	return s, nil
}

// Describe says, for people, which types there are and how they are told apart.
func (s *Set) Describe() string {
	var texts []string
	switch {
	case s.only != nil:
		return s.only.name
	case s.byTag != nil:
		for _, tag := range slices.Sorted(maps.Keys(s.byTag)) {
			texts = append(texts, fmt.Sprintf("%s where the first member is %d", s.byTag[tag].name, tag))
		}
	default:
		for _, length := range slices.Sorted(maps.Keys(s.byLength)) {
			texts = append(texts, fmt.Sprintf("%s where there are %d bytes", s.byLength[length].name, length))
		}
	}
	return strings.Join(texts, ", ")
}

// By is what tells the types of a Set apart.
type By uint32

const (
	ByNothing By = iota // there is only one
	ByTag               // the first member
	ByLength            // the length of the record
)

// Part is a type of a Set, and the tag or length of its records.
type Part struct {
	Key  uint64
	Type btf.Type
}

// Parts returns what the Set is made of: [Assemble] makes it again.
func (s *Set) Parts() (By, []Part) {
	var parts []Part
	switch {
	case s.only != nil:
		return ByNothing, []Part{{Type: s.only.typ}}
	case s.byTag != nil:
		for _, tag := range slices.Sorted(maps.Keys(s.byTag)) {
			parts = append(parts, Part{tag, s.byTag[tag].typ})
		}
		return ByTag, parts
	}
	for _, length := range slices.Sorted(maps.Keys(s.byLength)) {
		parts = append(parts, Part{uint64(length), s.byLength[length].typ})
	}
	return ByLength, parts
}

// Assemble makes a Set of parts. Its error is [ErrAmbiguous] for parts that no Set has.
func Assemble(by By, parts []Part) (*Set, error) {
	tags, lengths := map[uint64]btf.Type{}, map[int]btf.Type{}
	for _, p := range parts {
		tags[p.Key] = p.Type
		lengths[int(p.Key)] = p.Type
	}
	switch {
	case by == ByNothing && len(parts) == 1:
		return NewSet(parts[0].Type)
	case by == ByTag && len(parts) > 0:
		return NewTagged(tags)
	case by == ByLength && len(parts) > 0:
		return NewByLength(lengths)
	}
	return nil, fmt.Errorf("assemble %d types: %w", len(parts), ErrAmbiguous)
}

func newByLength(types []btf.Type) (*Set, error) {
	s := &Set{byLength: make(map[int]*Decoder, len(types))}
	var names []string
	ambiguous := len(types) == 0
	for _, t := range types {
		d, err := New(t)
		if err != nil {
			return nil, err
		}
		size, err := sizeof(t)
		if err != nil {
			return nil, fmt.Errorf("compile type %q: %w", d.name, err)
		}
		ambiguous = ambiguous || s.byLength[size] != nil || d.flexible()
		s.byLength[size] = d
		s.decoders = append(s.decoders, d)
		names = append(names, d.name)
	}
	if ambiguous {
		return nil, fmt.Errorf("compile types %s: %w: they share no leading enum that names them, nor has each a length of its own",
			strings.Join(names, ", "), ErrAmbiguous)
	}
	return s, nil
}

// Decoder returns the decoder for a record, or [ErrNoMatch].
func (s *Set) Decoder(record []byte) (*Decoder, error) {
	d := s.only
	switch {
	case d != nil:
		return d, nil
	case s.byTag == nil:
		d = s.byLength[len(record)]
	case len(record) >= int(s.tag.size):
		d = s.byTag[s.tag.load(record)]
	}
	if d == nil {
		return nil, fmt.Errorf("decode %d bytes: %w", len(record), ErrNoMatch)
	}
	return d, nil
}

// Decoders returns those of all the types of the set.
func (s *Set) Decoders() []*Decoder { return s.decoders }

// flexible reports whether records of different lengths belong to the type.
func (d *Decoder) flexible() bool {
	for _, o := range d.ops {
		if o.array != nil && o.array.rest && o.array.n == math.MaxInt {
			return true
		}
	}
	return false
}

// tagsOf maps the values of the enum that all types begin with to the types,
// or returns nil.
func tagsOf(types []btf.Type) map[uint64]btf.Type {
	tags := make(map[uint64]btf.Type, len(types))
	for _, t := range types {
		first, ok := firstMember(t)
		if !ok {
			return nil
		}
		e, ok := btf.UnderlyingType(first.Type).(*btf.Enum)
		if !ok {
			return nil
		}
		for _, v := range e.Values {
			if strings.EqualFold(v.Name, t.TypeName()) {
				tags[v.Value] = t
			}
		}
	}
	if len(tags) == 0 || len(tags) != len(types) {
		return nil
	}
	return tags
}
