// Package infer finds the types of a ring's records from the programs on this host that
// refer to the ring, their BTF and their instructions.
//
//	found, err := infer.Of(ring)
//	...
//	if found.Set != nil {
//		codec, err := found.Set.Codec(record)
//	}
//
// # Certainty
//
// The kernel keeps a program's instructions, its source lines, and the BTF that its loader
// passed: libbpf and bpftool pass all of the object's BTF, cilium/ebpf passes only the types
// that functions refer to. BTF does not describe local variables, so it lacks a struct that is
// used only within functions. The type of the records that a call produces ([Site]) is
//
//   - certain if the program states it: the program passes the record to a function that
//     takes a pointer to the struct; or the record is a global variable, an element of a map
//     or an argument of known type; or the source line of the call names the struct;
//   - likely if the record has a constant size, and only one type of that size has
//     fields that match the program's stores, or a variable exports one such type, as in
//     "const struct event *unused";
//   - unknown otherwise; [Site.Why] says why.
//
// # Privileges
//
// [Of] needs CAP_SYS_ADMIN, which includes the CAP_BPF and CAP_PERFMON that the kernel demands
// for instructions. The kernel shows two things only to a process that can see kernel addresses
// (CAP_SYSLOG, kernel.kptr_restrict below 2): the instructions of a program whose constants are
// blinded (net.core.bpf_jit_harden; kernel/bpf/syscall.c, bpf_prog_get_info_by_fd), and which
// helper an instruction calls. If the helper is hidden, it is derived from the source line or
// the arguments of the call.
//
// # Several types
//
// Records of several types are told apart by the constant that the program stores at
// their start, or by their length. [Result.Set] lacks types that cannot be told apart, and
// types whose length is also that of records of unknown type.
package infer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

// Result is what [Of] found about the types of a ring's records. It belongs to the caller.
type Result struct {
	// Set has the types that were found and can be told apart; nil if there are none.
	Set *decode.Set
	// Certainty is that of the least certain type found; Unknown if Set is nil.
	Certainty Certainty
	// Partial reports that some records have no type in Set.
	Partial bool
	// Why explains in one line the types and their certainty, or why no type was found.
	Why string
	// Sites are the places in programs that produce records.
	Sites []*Site
	// Notes say which programs could not be read, and why.
	Notes []string
}

// Of finds the record types of a RINGBUF. It needs CAP_SYS_ADMIN, to open the programs of other
// processes; without it the error matches [fs.ErrPermission]. Types that it cannot find are not an
// error. For a USER_RINGBUF, whose samples no program defines, the Result has no types. The caller
// still owns ring. Any number of goroutines can call Of at once.
func Of(ring *ebpf.Map) (*Result, error) {
	info, err := ring.Info()
	if err != nil {
		return nil, fmt.Errorf("find record types: %w", err)
	}
	r := &Result{}
	if ring.Type() == ebpf.UserRingbuf {
		r.Why = "no program defines the samples of a user ring: a process writes them"
		return r, nil
	}
	id, ok := info.ID()
	if !ok {
		return nil, errors.New("find record types: the kernel does not report the ring's id")
	}
	found, notes, err := programs(id)
	if err != nil {
		return nil, fmt.Errorf("find record types: list programs: %w", err)
	}
	calls, err := readHelpers()
	if err != nil {
		notes = append(notes, fmt.Sprintf("names of helpers unknown: %v", err))
		calls = new(helpers)
	}
	r.Notes = notes
	for _, p := range found {
		p.calls = calls
		r.Sites = append(r.Sites, p.sites()...)
	}
	switch {
	case len(found) == 0 && len(notes) == 0:
		r.Why = "no program refers to the ring (programs that reach it through a map of maps cannot be found)"
	case len(found) == 0:
		r.Why = strings.Join(notes, "; ")
	case len(r.Sites) == 0:
		r.Why = fmt.Sprintf("%d programs refer to the ring, but none is seen to produce a record", len(found))
	default:
		r.combine()
	}
	return r, nil
}

// combine sets all fields of r that follow from r.Sites, of which there is at least one.
func (r *Result) combine() {
	var types []*group
	var unknown []*Site
	for _, s := range r.Sites {
		if s.Type == nil {
			unknown = append(unknown, s)
			continue
		}
		types = add(types, s)
	}
	if len(types) == 0 {
		r.Why = unknown[0].reason()
		return
	}
	var err error
	switch {
	case len(unknown) > 0:
		r.Set, err = byLength(types, unknown)
	case len(types) == 1:
		r.Set, err = decode.NewSet(types[0].typ)
	default:
		if tags := tagsOf(types); tags != nil {
			r.Set, err = decode.NewTagged(tags)
		}
		if r.Set == nil {
			if r.Set, err = decode.NewSet(all(types)...); err != nil {
				r.Set, err = byLength(types, nil)
			}
		}
	}
	if err != nil {
		r.Set, r.Why = nil, err.Error()
		return
	}
	r.Certainty, r.Partial = Certain, len(unknown) > 0
	var whys []string
	for _, g := range types {
		r.Certainty = min(r.Certainty, g.sites[0].Certainty)
		whys = append(whys, fmt.Sprintf("%s (%s: %s)", g.typ.TypeName(), g.sites[0].Certainty, g.sites[0].Why))
	}
	for _, s := range unknown {
		whys = append(whys, s.reason())
	}
	if left := leftOut(types, r.Set); left != nil {
		r.Partial = true
		whys = append(whys, fmt.Sprintf("records of %s cannot be told apart from others", names(left)))
	}
	r.Why = strings.Join(whys, "; ")
}

// leftOut returns the types of groups that set lacks.
func leftOut(groups []*group, set *decode.Set) (types []btf.Type) {
	for _, g := range groups {
		has := func(d *decode.Codec) bool { return d.Name() == g.typ.TypeName() }
		if !slices.ContainsFunc(set.Codecs(), has) {
			types = append(types, g.typ)
		}
	}
	return types
}

// reason says why the type of a site's records is unknown.
func (s *Site) reason() string {
	what := "records"
	if s.Size >= 0 {
		what = fmt.Sprintf("records of %d bytes", s.Size)
	}
	return fmt.Sprintf("%s of %s are unknown: %s", what, s.Program, s.Why)
}

// group is a type and the sites that produce its records. The first site is the least certain.
type group struct {
	typ   btf.Type
	sites []*Site
}

// add adds a site to the group of its type. Types of different programs are the same if they have the same
// name and size: programs of one object have the same types, but each has its own BTF.
func add(groups []*group, s *Site) []*group {
	size, _ := btf.Sizeof(s.Type)
	for _, g := range groups {
		n, _ := btf.Sizeof(g.typ)
		if g.typ.TypeName() == s.Type.TypeName() && n == size {
			g.sites = append(g.sites, s)
			if s.Certainty < g.sites[0].Certainty {
				g.sites[0], g.sites[len(g.sites)-1] = s, g.sites[0]
			}
			return groups
		}
	}
	return append(groups, &group{s.Type, []*Site{s}})
}

func all(groups []*group) (types []btf.Type) {
	for _, g := range groups {
		types = append(types, g.typ)
	}
	return types
}

// tagsOf returns the types by the constant at the start of their records, or nil if that does not
// tell the types apart.
func tagsOf(groups []*group) map[uint64]btf.Type {
	tags := map[uint64]btf.Type{}
	for _, g := range groups {
		for _, s := range g.sites {
			if len(s.Tags) == 0 {
				return nil
			}
			for _, tag := range s.Tags {
				if other, ok := tags[tag]; ok && other != g.typ {
					return nil
				}
				tags[tag] = g.typ
			}
		}
	}
	return tags
}

// byLength returns a Set of the types whose length no other records have.
func byLength(groups []*group, unknown []*Site) (*decode.Set, error) {
	taken := map[int64]int{}
	for _, g := range groups {
		size, err := btf.Sizeof(g.typ)
		if err != nil {
			return nil, err
		}
		taken[int64(size)]++
	}
	for _, s := range unknown {
		if s.Size < 0 {
			return nil, fmt.Errorf("%s; they could be mistaken for records of %s", s.reason(), groups[0].typ.TypeName())
		}
		taken[s.Size]++
	}
	lengths := map[int]btf.Type{}
	for _, g := range groups {
		if size, _ := btf.Sizeof(g.typ); taken[int64(size)] == 1 {
			lengths[size] = g.typ
		}
	}
	if len(lengths) == 0 {
		return nil, fmt.Errorf("records of %s cannot be told apart from others by their length or by a constant at their start",
			names(all(groups)))
	}
	return decode.NewByLength(lengths)
}

// Explain returns lines of text for people: for each site how its type was found, or why it was
// not, then the notes and the types.
func (r *Result) Explain() []string {
	var lines []string
	for _, s := range r.Sites {
		line := s.Program + ": " + s.Call
		if s.Size >= 0 {
			line += fmt.Sprintf(" of %d bytes", s.Size)
		}
		if s.Type != nil {
			line += ": " + s.Type.TypeName()
		}
		if len(s.Tags) > 0 {
			line += fmt.Sprintf(" that starts with %d", s.Tags)
		}
		line += fmt.Sprintf(": %s: %s", s.Certainty, s.Why)
		if s.How != "" {
			line += " (" + s.How + ")"
		}
		lines = append(lines, line)
	}
	lines = append(lines, r.Notes...)
	if r.Set == nil {
		return append(lines, "records are shown in hex: "+r.Why)
	}
	return append(lines, "records are "+r.Set.String())
}
