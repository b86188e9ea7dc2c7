package stream

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/usertypes"
)

// Prefer makes the types that the user remembers for maps of m's name count more than those that were found. A note
// says so. If the programs make only records of other sizes, the map only has the name: its types stay.
func (t *Types) Prefer(m *ebpf.Map, file usertypes.File) {
	entries, err := file.Read()
	if err != nil {
		t.note("the types of rbtool types are not used: %v", err)
		return
	}
	info, err := m.Info()
	if err != nil || info.Name == "" {
		return
	}
	entries = slices.DeleteFunc(entries, func(e usertypes.Entry) bool { return e.Map != info.Name })
	if len(entries) == 0 || t.known {
		return
	}
	title := fmt.Sprintf("what rbtool types remembers for maps called %s", info.Name)
	if t.otherSizes(entries) {
		t.note("%s is not used: the records have other sizes", title)
		return
	}
	set, err := rememberedSet(entries)
	if err != nil {
		t.note("%s is not used: %v", title, err)
		return
	}
	line := fmt.Sprintf("records are %s: %s", set, title)
	if t.Set != nil && t.Set.String() != set.String() {
		line += fmt.Sprintf("; its programs say %s", t.Set)
	}
	t.Set, t.Notes, t.Explanation = set, []string{line}, append([]string{line}, t.Explanation...)
	t.AddMeanings(m, nil)
}

// otherSizes reports whether no entry has the size of records that the programs make.
func (t *Types) otherSizes(entries []usertypes.Entry) bool {
	if t.inferred == nil {
		return false
	}
	sizes := sizesOf(t.inferred.Sites)
	return len(sizes) > 0 && !slices.ContainsFunc(entries, func(e usertypes.Entry) bool { return e.Size == 0 || slices.Contains(sizes, e.Size) })
}

// rememberedSet returns a Set of the types of entries, each for records of its size.
func rememberedSet(entries []usertypes.Entry) (*decode.Set, error) {
	var types []btf.Type
	var cases []decode.Case
	for _, e := range entries {
		found, err := Declaration{Text: e.C, From: e.From, Names: []string{e.Name}}.Types()
		if err != nil {
			return nil, err
		}
		if e.Size < 0 || e.Size > math.MaxInt32 {
			return nil, fmt.Errorf("%s has an impossible size", e.Type)
		}
		types = append(types, found[0].Type)
		c := decode.Case{Type: found[0].Type, Min: int(e.Size), Max: int(e.Size)}
		if size, err := btf.Sizeof(c.Type); err == nil && int64(size) < e.Size || e.Size == 0 {
			c.Options.Header = isObject(c.Type)
		}
		cases = append(cases, c)
	}
	if set, err := decode.NewSet(types...); err == nil && len(types) > 1 {
		return set, nil
	}
	return decode.NewCases(cases)
}

// Remembered returns the entries for d: a type for each of its names, for maps with the given name. If size is
// negative, the size of records is that of the type, or any if the type ends with a flexible array.
func (d Declaration) Remembered(name string, size int64) ([]usertypes.Entry, error) {
	found, err := d.Types()
	if err != nil {
		return nil, err
	}
	var entries []usertypes.Entry
	for i, f := range found {
		e := usertypes.Entry{Map: name, Size: size, Type: f.Type.TypeName(), Name: strings.TrimSpace(d.Names[i]), C: d.Text, From: d.From}
		whole, err := btf.Sizeof(f.Type)
		if err != nil {
			return nil, err
		}
		if size < 0 {
			e.Size = int64(whole)
			if isFlexible(f.Type) {
				e.Size = 0
			}
		}
		if e.Size == 0 && size < 0 && !isFlexible(f.Type) {
			return nil, errors.New(e.Type + " has no bytes")
		}
		entries = append(entries, e)
	}
	if _, err := rememberedSet(entries); err != nil {
		return nil, err
	}
	return entries, nil
}

// isFlexible reports whether a struct ends with a flexible array.
func isFlexible(t btf.Type) bool {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok || len(s.Members) == 0 {
		return false
	}
	last := s.Members[len(s.Members)-1].Type
	a, ok := btf.UnderlyingType(last).(*btf.Array)
	return ok && a.Nelems == 0 || isFlexible(last)
}

func isObject(t btf.Type) bool {
	switch btf.UnderlyingType(t).(type) {
	case *btf.Struct, *btf.Union:
		return true
	}
	return false
}
