package proctrace

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// handlerSet has the handler for each slot of the map of handlers, nil for empty slots.
type handlerSet []*ebpf.Program

// loadHandlers loads the handlers for all types and copies.
func loadHandlers(spec *ebpf.CollectionSpec, copies uint32, opts ebpf.CollectionOptions) (handlerSet, error) {
	set := make(handlerSet, copies*uint32(eventTypes)) // without the slots of the process table's programs
	for i := range copies {
		if err := setCopy(spec, i, copies); err != nil {
			return nil, errors.Join(err, set.close())
		}
		var o struct {
			Exit *ebpf.Program `ebpf:"handle_exit"`
			Exec *ebpf.Program `ebpf:"handle_exec"`
			Fork *ebpf.Program `ebpf:"handle_fork"`
		}
		if err := spec.LoadAndAssign(&o, &opts); err != nil {
			return nil, errors.Join(err, set.close())
		}
		for h, p := range []*ebpf.Program{o.Exit, o.Exec, o.Fork} {
			set[slot(i, hooks[h].typ)] = p
		}
	}
	return set, nil
}

// slot returns the slot of the handler for a type in a copy.
func slot(copy uint32, typ Type) uint32 { return copy*uint32(eventTypes) + uint32(typ) }

// install puts the handlers into the map. An event calls the old handler or the new one: a slot is
// never empty in between (kernel/bpf/arraymap.c, bpf_fd_array_map_update_elem: xchg).
func (s handlerSet) install(m *ebpf.Map) error {
	for i, p := range s {
		if p == nil {
			continue
		}
		if err := m.Put(uint32(i), p); err != nil {
			return fmt.Errorf("put handler %d: %w", i, err)
		}
	}
	return nil
}

func (s handlerSet) close() error {
	var errs []error
	for _, p := range s {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}

// installed returns the handlers that are in the map.
func installed(m *ebpf.Map) (handlerSet, error) {
	set := make(handlerSet, m.MaxEntries())
	for i := range set {
		var id ebpf.ProgramID
		err := m.Lookup(uint32(i), &id)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err == nil {
			set[i], err = ebpf.NewProgramFromID(id)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("get handler %d: %w", i, err), set.close())
		}
	}
	return set, nil
}

// Replace installs the handlers of this version in a running tracer that another version may have
// started. Each event is handled once, by an old or a new handler, and no event is lost. The ring,
// the counts, the rules and the programs that take commands stay.
//
// If Replace returns an error, the old handlers are in place. Replace needs CAP_SYS_ADMIN to find
// the maps of the old handlers.
func (t *Tracer) Replace() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := os.ErrClosed
	if !t.closed {
		err = t.replace()
	}
	if err != nil {
		return fmt.Errorf("replace handlers of proctrace: %w", err)
	}
	return nil
}

func (t *Tracer) replace() (err error) {
	old, err := installed(t.handlers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.close()) }()
	maps, err := t.maps(old)
	defer func() {
		for _, m := range maps {
			m.Close() // the programs keep the maps that they use
		}
	}()
	if err != nil {
		return err
	}
	if maps[bpfMapEvents] == nil {
		return errors.New("no handler uses the ring of the tracer")
	}
	spec, err := specFor(maps, t.processes != nil)
	if err != nil {
		return err
	}
	if err := newMaps(spec, maps); err != nil {
		return err
	}
	opts := ebpf.CollectionOptions{MapReplacements: maps, Cache: kernelbtf.Cache()}
	set, err := loadHandlers(spec, uint32(len(t.programs[0])), opts)
	if err != nil {
		return err
	}
	if err = set.install(t.handlers); err != nil {
		err = errors.Join(err, old.install(t.handlers))
	}
	return errors.Join(err, set.close())
}

// maps returns the maps that all handlers share, by name.
func (t *Tracer) maps(handlers handlerSet) (map[string]*ebpf.Map, error) {
	maps := make(map[string]*ebpf.Map)
	for _, p := range append(handlers[:len(handlers):len(handlers)], t.programs[0][0]) {
		if p == nil {
			continue
		}
		if err := mapsOf(p, maps); err != nil {
			return maps, err
		}
	}
	return maps, nil
}

// mapsOf adds the shared maps that program p uses to the Go map to, by name.
func mapsOf(p *ebpf.Program, to map[string]*ebpf.Map) error {
	info, err := p.Info()
	if err != nil {
		return err
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return fmt.Errorf("get map %d of %s: %w", id, info.Name, err)
		}
		about, err := m.Info()
		if err != nil || to[about.Name] != nil || !isShared(about.Name) {
			err = errors.Join(err, m.Close())
		} else {
			to[about.Name] = m
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// specFor returns the spec of programs that use these maps of a tracer.
func specFor(maps map[string]*ebpf.Map, withTable bool) (*ebpf.CollectionSpec, error) {
	spec, err := newSpec()
	if err != nil {
		return nil, err
	}
	err = errors.Join(setStacks(spec, hasStacks(maps), 0), spec.Variables[bpfVarWithTable].Set(withTable))
	if err != nil {
		return nil, err
	}
	for name, m := range maps {
		spec.Maps[name].MaxEntries, spec.Maps[name].Flags = m.MaxEntries(), m.Flags()
	}
	var n bpfRuleCounts
	if ruled := maps[bpfMapRuled]; ruled != nil {
		if err := ruled.Lookup(uint32(0), &n); err != nil {
			return nil, err
		}
	}
	return spec, setHolding(spec, n.HoldsTasks != 0)
}
