package infer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/objects"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Source is BTF that can describe the records of a ring.
type Source struct {
	Spec *btf.Spec
	Name string // for people, such as "the object in /usr/sbin/x (process 12)"
	// Local returns the type of a function's variable, or of what it points to, which DWARF has; it can be nil.
	Local func(function, variable string) (btf.Type, bool)
}

// Sources returns all BTF that belongs to the programs of a ring, the nearest first: that of programs and maps,
// then that of objects in the executables of the ring's owners, then what their DWARF has. notes say what could not be read, and
// which capability that takes. The caller still owns ring.
func Sources(ring *ebpf.Map) (found []Source, notes []string, err error) {
	s, err := newSearch(ring, Options{}, programTime, nameTime)
	if err != nil {
		return nil, nil, fmt.Errorf("find BTF of ring: %w", err)
	}
	defer s.close()
	s.askOwners()
	seen := map[*catalog]bool{}
	for _, p := range s.programs {
		for _, src := range p.sources {
			if !seen[src.catalog] {
				seen[src.catalog] = true
				found = append(found, Source{src.spec, src.why, src.local})
			}
		}
	}
	return append(found, s.debugSources()...), s.notes, nil
}

// search is the state of one search for the types of a ring.
type search struct {
	*host
	handle   *ebpf.Map // the caller's
	ring     *syscall.MapInfo
	given    []source
	programs []*program        // that put records into the ring
	cache    *btf.Cache        // of the kernel's BTF: kept, so that it is decoded once
	objects  []*objects.Object // in the executables of the holders
	ctx      context.Context   // ends the search in the executables of the holders
	cancel   func()
	effort   effort
	partial  bool // programs have been left out
	// helper returns what tells the names of helpers; it waits.
	helper func() (func(immediate int32) string, error)
}

// How long an answer reads at most. The executables are bounded by bytes, too: they take less than 0.1 s unless
// they are read from a disk or the machine is busy.
var (
	programTime = 5 * time.Second // programs: they take 0.3 s at most on an idle machine
	ownerTime   = time.Second     // executables, whose files can block; longer on a busy machine
	nameTime    = 5 * time.Second // executables, if the caller knows the name of the type
)

// newSearch finds the ring's programs and the BTF in the kernel that belongs to them, as long as the first duration. From
// then on, executables are searched as long as the second.
func newSearch(ring *ebpf.Map, o Options, forPrograms, forOwners time.Duration) (*search, error) {
	started := startEffort(forPrograms)
	info, err := syscall.MapInfoOf(ring)
	if err != nil {
		return nil, err
	}
	helper := begin(recordflow.Helpers)
	h, err := o.host()
	if err != nil {
		_, _ = helper()
		return nil, fmt.Errorf("list programs: %w", err)
	}
	s := &search{host: h, handle: ring, ring: info, cache: kernelbtf.Cache(), effort: started, helper: helper}
	for _, g := range o.Given {
		s.given = append(s.given, source{catalog: newCatalog(g.Spec), why: g.Name, local: g.Local})
	}
	s.usage = begin(func() (*inspect.Usage, error) { return inspect.Users(ring) })
	s.findPrograms()
	s.ctx, s.cancel = patience(forOwners, waitedForCPU)
	return s, nil
}

// close waits until nothing uses the caller's map, and closes what reads the kernel.
func (s *search) close() {
	s.cancel()
	_, _ = s.usage()
	_, _ = s.helper()
	s.kernel.close()
}

// findPrograms finds the programs that refer to the ring. It notes those that it could not read.
func (s *search) findPrograms() {
	ways := s.ways(s.ring.ID)
	users := s.users(ways)
	if len(users) == 0 {
		return
	}
	all, errs := make([]*program, len(users)), make([]error, len(users))
	for i, info := range users {
		all[i] = s.program(info, ways)
		all[i].effort = s.effort
	}
	helper, err := s.helper()
	if err != nil {
		s.note("names of helpers unknown: %v", err)
	}
	parallel(len(all), func(i int) {
		if errs[i] = errTime; !s.effort.over() {
			errs[i] = all[i].load(s.host, helper)
		}
	})
	for i, p := range all {
		switch err := errs[i]; {
		case errors.Is(err, fs.ErrNotExist): // the program has been unloaded
			continue
		case err != nil:
			s.note("%s: %v", p, err)
			s.partial = s.partial || errors.Is(err, errTime)
			continue
		}
		p.ring = s.ring.Name
		for _, src := range s.given {
			src.same = len(src.records(p.ring)) > 0 || src.hasFunction(p.flow.Sites)
			p.sources = append(p.sources, src)
		}
		s.describe(p, users)
		s.programs = append(s.programs, p)
	}
}

// sites returns the places where programs put records into the ring, or take samples out of a user ring.
func (s *search) sites() []*Site {
	found := make([][]*Site, len(s.programs))
	parallel(len(s.programs), func(i int) {
		p := s.programs[i]
		for _, d := range p.flow.Drains {
			found[i] = append(found[i], p.drained(d)...)
		}
		for _, from := range p.flow.Sites {
			found[i] = append(found[i], p.site(from))
		}
	})
	return slices.Concat(found...)
}

// settle finds the types of the sites that more sources can tell more of.
func (s *search) settle(sites []*Site) {
	parallel(len(s.programs), func(i int) {
		for _, site := range sites {
			if site.program == s.programs[i] && site.uncertain() {
				site.program.settle(site)
			}
		}
	})
}
