package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/enumname"
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
	cases  []Case
	codecs []*Codec
	only   *Codec // if there is one case, without conditions

	spot   spot                 // of the tag, or of the length, that most cases have
	tagged map[uint64][]*branch // by that tag or length
	dense  [][]*branch          // the same for small tags
	loose  []*branch            // the other cases
}

// NewCases returns a Set of the types of cases. Cases of equal types and options share a [Codec]. A record
// that fits several cases belongs to the most specific one, whose records all fit the other cases, too. If no case
// is, the record has no type, unless all cases that it fits have one Codec. Errors are those of [NewWith];
// another error reports a tag that no record can have, or more cases than a ring has.
func NewCases(cases []Case) (*Set, error) {
	s := &Set{cases: slices.Clone(cases)}
	var branches []*branch
	values := 0
	for _, c := range cases {
		codec, err := s.codec(&c)
		if err != nil {
			return nil, err
		}
		b, err := newBranch(&c, codec)
		if err != nil {
			return nil, fmt.Errorf("compile types: %w", err)
		}
		branches = append(branches, b)
		if values += b.values(); values > maxValues || len(branches) > maxCases {
			return nil, fmt.Errorf("compile types: %w", errCases)
		}
	}
	rank(branches)
	s.index(branches)
	return s, nil
}

// codec returns the codec for the records of c, or nil if they have none.
func (s *Set) codec(c *Case) (*Codec, error) {
	if c.Type == nil {
		return nil, nil
	}
	for _, d := range s.codecs {
		if d.typ == c.Type && d.options.equal(&c.Options) {
			return d, nil
		}
	}
	d, err := NewWith(c.Type, c.Options)
	if err == nil {
		s.codecs = append(s.codecs, d)
	}
	return d, err
}

// maxDense is the length of the longest table of tags.
const maxDense = 1 << 8

// index sorts branches by the tag that most of them have, or by their length. Branches are sorted by rank.
func (s *Set) index(branches []*branch) {
	if len(branches) == 1 && branches[0].free() {
		s.only = branches[0].codec
	}
	most := 0
	counts := map[spot]int{}
	for _, b := range branches {
		for _, k := range b.keys() {
			if counts[k.at]++; counts[k.at] > most {
				s.spot, most = k.at, counts[k.at]
			}
		}
	}
	s.tagged = map[uint64][]*branch{}
	highest := uint64(0)
	for _, b := range branches {
		keys := b.keys()
		i := slices.IndexFunc(keys, func(k condition) bool { return k.at == s.spot })
		if i < 0 {
			s.loose = append(s.loose, b)
			continue
		}
		for _, v := range keys[i].values {
			s.tagged[v] = append(s.tagged[v], b)
			highest = max(highest, v)
		}
	}
	if len(s.tagged) == 0 || highest >= maxDense {
		return
	}
	s.dense = make([][]*branch, highest+1)
	for v, list := range s.tagged {
		s.dense[v] = list
	}
}

// NewSet returns a Set of types. It tells their records apart by the first of these that applies:
//   - there is only one type;
//   - a tag: all types have the same enum at the same place, and each type is named after one enumerator, as
//     open_event after KIND_OPEN; the enumerator is the tag of its records;
//   - the length: all types have different sizes, and none ends with a flexible array.
//
// If none applies, the error matches [ErrAmbiguous]. Other errors are those of [New].
func NewSet(types ...btf.Type) (*Set, error) {
	if len(types) == 1 {
		return NewCases([]Case{{Type: types[0]}})
	}
	if cases := namedCases(types); cases != nil {
		return NewCases(cases)
	}
	var cases []Case
	var names []string
	sizes := make(map[int]bool, len(types))
	for _, t := range types {
		size, err := sizeof(t)
		if err != nil {
			return nil, fmt.Errorf("compile type %q: %w", nameOf(t), err)
		}
		cases = append(cases, Case{Type: t, Min: size, Max: size})
		sizes[size] = true
		names = append(names, nameOf(t))
	}
	s, err := NewCases(cases)
	if err != nil {
		return nil, err
	}
	flexible := func(d *Codec) bool { return d.root.flexible() }
	if len(types) == 0 || len(sizes) < len(types) || slices.ContainsFunc(s.codecs, flexible) {
		return nil, fmt.Errorf("compile types %s: %w: no enum at their start names them, and their lengths are not distinct and fixed",
			strings.Join(names, ", "), ErrAmbiguous)
	}
	return s, nil
}

// namedCases returns the cases of types that have a tag, as [NewSet] describes it, or nil.
func namedCases(types []btf.Type) []Case {
	var all []armFinder
	var names []string
	for _, t := range types {
		f := armFinder{left: maxFields}
		f.add(t, 0, 0)
		all = append(all, f)
		names = append(names, t.TypeName())
	}
	if len(all) == 0 {
		return nil
	}
	for _, e := range all[0].enums {
		at := enumname.Match(namesOf(e.typ), names)
		if slices.Contains(at, -1) || slices.ContainsFunc(all, func(f armFinder) bool { return !f.has(e) }) {
			continue
		}
		var cases []Case
		for i, t := range types {
			cases = append(cases, Case{Type: t, Tags: []Tag{{Off: e.off, Size: int(e.typ.Size), Values: []uint64{e.typ.Values[at[i]].Value}}}})
		}
		return cases
	}
	return nil
}

// has reports whether the type has an enum like e at the same place.
func (f *armFinder) has(e enumAt) bool {
	return isPowerOf2UpTo8(e.typ.Size) && slices.ContainsFunc(f.enums, func(o enumAt) bool {
		return o.off == e.off && o.typ.Size == e.typ.Size && slices.Equal(o.typ.Values, e.typ.Values)
	})
}

// Codec returns the codec for a record, or an error matching [ErrNoMatch]. A Set of one type without conditions
// returns its codec for every record, even for one that is too short. The Codec does not keep record.
func (s *Set) Codec(record []byte) (*Codec, error) {
	if s.only != nil {
		return s.only, nil
	}
	if b := s.find(record); b != nil && b.codec != nil {
		return b.codec, nil
	}
	return nil, fmt.Errorf("decode %d bytes: %w", len(record), ErrNoMatch)
}

// find returns the branch of a record, or nil if it has none.
func (s *Set) find(record []byte) *branch {
	found := first(s.loose, record, nowhere)
	if v, ok := s.spot.load(record); ok {
		var list []*branch
		if s.dense == nil {
			list = s.tagged[v]
		} else if v < uint64(len(s.dense)) {
			list = s.dense[v]
		}
		if b := first(list, record, s.spot); b != nil && (found == nil || b.rank < found.rank) {
			found = b
		}
	}
	if found == nil || first(found.rivals, record, nowhere) != nil {
		return nil
	}
	return found
}

// first returns the first of branches that record fits, or nil. They fulfil the condition at the spot known.
func first(branches []*branch, record []byte, known spot) *branch {
	for _, b := range branches {
		if b.fits(record, known) {
			return b
		}
	}
	return nil
}

// Codecs returns the codecs of all types of the set. The caller must not change the slice.
func (s *Set) Codecs() []*Codec { return s.codecs }
