package decode

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

var (
	// ErrNoMatch reports a record of none of the types of a Set.
	ErrNoMatch = errors.New("no type for the record")

	// ErrAmbiguous reports types whose records a [Set] cannot tell apart.
	ErrAmbiguous = errors.New("types cannot be told apart")
)

// Set holds the types of the records of one ring and finds the type of each record. A Set does not
// change: any number of goroutines can use it.
type Set struct {
	codecs   []*Codec
	only     *Codec
	tag      op // loads the tag if byTag is not nil
	byTag    map[uint64]*Codec
	byLength map[int]*Codec
}

// NewSet returns a Set of types. It tells their records apart by the first of these that applies:
//   - there is only one type;
//   - a tag: all types are structs whose first member is the same enum, and each struct is
//     named after an enumerator, ignoring case; the enumerator is the tag of its records;
//   - the length: all types have different sizes, and none ends with a flexible array.
//
// If none applies, the error matches [ErrAmbiguous]. Other errors are those of [New].
func NewSet(types ...btf.Type) (*Set, error) {
	if len(types) == 1 {
		d, err := New(types[0])
		if err != nil {
			return nil, err
		}
		return &Set{codecs: []*Codec{d}, only: d}, nil
	}
	if tags := tagsOf(types); tags != nil {
		return NewTagged(tags)
	}
	return newByLength(types)
}

// NewTagged returns a Set of structs whose first member is a tag: an integer or enum that has the same size
// in all structs. tags maps the values of the tag to the structs. If a struct has no such member, the error
// matches [ErrAmbiguous]. Other errors are those of [New]. The Set does not keep the map.
func NewTagged(tags map[uint64]btf.Type) (*Set, error) {
	s := &Set{byTag: make(map[uint64]*Codec, len(tags))}
	for _, value := range slices.Sorted(maps.Keys(tags)) {
		t := tags[value]
		d, err := New(t)
		if err != nil {
			return nil, err
		}
		tag, ok := tagOp(t)
		if !ok || len(s.codecs) > 0 && tag.size != s.tag.size {
			return nil, fmt.Errorf("compile type %q: %w: its first member is not an integer or enum, or differs in size from that of other types",
				d.name, ErrAmbiguous)
		}
		s.tag = tag
		s.byTag[lowBits(value, tag.width)] = d
		s.codecs = append(s.codecs, d)
	}
	return s, nil
}

// tagOp returns the operation that loads the first member of t, and false if that member cannot be a tag.
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

// NewByLength returns a Set of types whose records are told apart by their length in bytes, the keys of
// lengths. A record of another length has no type. Errors are those of [New]. The Set does not keep the map.
func NewByLength(lengths map[int]btf.Type) (*Set, error) {
	s := &Set{byLength: make(map[int]*Codec, len(lengths))}
	for _, length := range slices.Sorted(maps.Keys(lengths)) {
		d, err := New(lengths[length])
		if err != nil {
			return nil, err
		}
		s.byLength[length] = d
		s.codecs = append(s.codecs, d)
	}
	return s, nil
}

// String describes, for people, the types and how they are told apart.
func (s *Set) String() string {
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

func newByLength(types []btf.Type) (*Set, error) {
	s := &Set{byLength: make(map[int]*Codec, len(types))}
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
		ambiguous = ambiguous || s.byLength[size] != nil || d.root.flexible()
		s.byLength[size] = d
		s.codecs = append(s.codecs, d)
		names = append(names, d.name)
	}
	if ambiguous {
		return nil, fmt.Errorf("compile types %s: %w: no enum at their start names them, and their lengths are not distinct and fixed",
			strings.Join(names, ", "), ErrAmbiguous)
	}
	return s, nil
}

// Codec returns the codec for a record, or an error matching [ErrNoMatch]. A Set of one type returns its codec
// for every record, even for one that is too short. The Codec does not keep record.
func (s *Set) Codec(record []byte) (*Codec, error) {
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

// Codecs returns the codecs of all types of the set. The caller must not change the slice.
func (s *Set) Codecs() []*Codec { return s.codecs }

// tagsOf returns the types by the value of their tag, as [NewSet] describes it. It returns nil if the types
// have no such tag.
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
