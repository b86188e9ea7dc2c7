package infer

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/objects"
)

// holders returns the processes that hold the ring, other than this one.
func (s *search) holders() (pids []int, err error) {
	usage, err := s.usage()
	if err != nil {
		return nil, err
	}
	for _, u := range usage.Users[s.ring.ID] {
		if !u.Self {
			pids = append(pids, u.PID)
		}
	}
	return pids, nil
}

// sameOwner reports whether a map that no program uses can be of the object of a program: if processes hold
// it or the program's maps, one of them holds both. A map without a holder can be what is left of another object, until
// the kernel frees it. The ring is held by those who read it, too.
func (h *host) sameOwner(id ebpf.MapID, p *program) bool {
	usage, err := h.usage()
	if err != nil {
		return true
	}
	pids, known := usage.Holders(id)
	held := len(pids) > 0
	for _, m := range p.info.Maps {
		owners, _ := usage.Holders(m)
		if slices.ContainsFunc(owners, func(pid int) bool { return slices.Contains(pids, pid) }) {
			return true
		}
		held = held || len(owners) > 0 && !p.maps[uint32(m)].Ring
	}
	return !known || !held
}

// askOwners adds what the objects in the executables of the ring's owners say to the sources of the programs, or
// to the given sources if no program is known.
func (s *search) askOwners() {
	pids, err := s.holders()
	if err != nil {
		s.note("owners of the ring unknown: %v", err)
	}
	if len(pids) == 0 {
		return
	}
	all := s.names(s.programs...)
	all.Lines = nil // an object need not have all programs
	found, notes := objects.OfProcesses(s.ctx, all, pids...)
	s.notes = append(s.notes, notes...)
	s.objects = found
	sources := map[*objects.Object]source{}
	for _, o := range found {
		if spec, err := o.Spec(); err == nil {
			sources[o] = source{catalog: newCatalog(spec), why: fmt.Sprintf("the object in %s", o), same: true, local: o.Local, debug: debugOf(o)}
		}
	}
	for _, p := range s.programs {
		s.addObjects(p, sources)
	}
	for _, o := range found {
		if src, ok := sources[o]; ok && len(s.programs) == 0 {
			s.given = append(s.given, src)
		}
	}
}

// debugOf returns a function that returns the types of a name in the DWARF of an object.
func debugOf(o *objects.Object) func(name string) []btf.Type {
	return func(name string) []btf.Type {
		d, err := o.DWARF()
		if err != nil {
			return nil
		}
		return d.Named(name)
	}
}

// addObjects adds the objects that can be that of p to its sources. If the kernel has no source lines of p, and several
// objects have a program of its name, none of them is taken.
func (s *search) addObjects(p *program, sources map[*objects.Object]source) {
	names := s.names(p)
	var fitting []source
	for _, o := range s.objects {
		src, ok := sources[o]
		if fit := o.Fits(names); ok && fit.Programs > 0 && fit.Strange == 0 {
			src.same = fit.Same()
			fitting = append(fitting, src)
		}
	}
	if len(names.Lines) == 0 && len(fitting) > 1 {
		s.note("%s has no source lines, which would tell which of %d objects of the ring's owners is its", p, len(fitting))
		return
	}
	p.sources = append(p.sources, fitting...)
}

// names returns what the kernel knows of the ring and of programs.
func (s *search) names(programs ...*program) objects.Names {
	n := objects.Names{Ring: s.ring.Name}
	add := func(to *[]string, name string) {
		if name != "" && !slices.Contains(*to, name) {
			*to = append(*to, name)
		}
	}
	for _, p := range programs {
		add(&n.Programs, p.info.Name)
		for id, m := range p.maps {
			if ebpf.MapID(id) != s.ring.ID {
				add(&n.Maps, m.Name)
			}
		}
		for _, l := range p.lines[:min(len(p.lines), objects.MaxLines)] {
			add(&n.Lines, l.text)
		}
	}
	return n
}

// debugSources returns what the DWARF of the objects in the owners' executables says more than their BTF.
func (s *search) debugSources() (found []Source) {
	for _, o := range s.objects {
		d, err := o.DWARF()
		if err != nil {
			continue
		}
		if spec, err := d.Spec(); err == nil {
			found = append(found, Source{Spec: spec, Name: fmt.Sprintf("the DWARF of the object in %s", o), Local: d.Local})
		}
	}
	return found
}
