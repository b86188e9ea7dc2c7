package inspect

import (
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/pin"
)

// Options leave out what the caller does not need. The zero value leaves out
// nothing.
type Options struct {
	SkipUsers    bool // Map.Users stays nil
	SkipPrograms bool // Map.Programs stays nil
	SkipPins     bool // Map.Pins stays nil
}

// Report is what [All] found.
type Report struct {
	Maps []Map `json:"maps"` // by ascending id
	// Notes say what could not be found out about the host, and why.
	Notes []string `json:"notes,omitempty"`
}

// Map describes one ring or arena. Its JSON names are for scripts and do not
// change.
type Map struct {
	ID   ebpf.MapID `json:"id"`
	Name string     `json:"name"` // at most 15 bytes, may be empty
	Type string     `json:"type"` // ringbuf, user_ringbuf or arena
	// Bytes is the size: of a ring that of its data, without the position pages; of an
	// arena all that could be allocated in it.
	Bytes    uint64 `json:"bytes"`
	Flags    uint32 `json:"flags"`     // BPF_F_*
	MapExtra uint64 `json:"map_extra"` // of an arena the address asked for at its creation, or 0
	// Memory is how many bytes the kernel says that it takes (memlock in
	// fdinfo). Some kernels say 0 for a ring, 6.1 for one, and an arena's is
	// real from 7.3 on.
	Memory uint64 `json:"memory"`

	*Positions // of rings; nil where they could not be read

	Users    []User    `json:"owners"`   // processes that hold or map it, this one included
	Programs []Program `json:"programs"` // programs that use it
	Pins     []string  `json:"pins"`     // paths
	// Notes say what could not be found out, or is wrong with it.
	Notes []string `json:"notes,omitempty"`
}

// All describes every ring and arena on the host, but for [Positions.Busy]. It
// needs CAP_SYS_ADMIN.
func All(opts Options) (*Report, error) {
	kernel, err := kernelFields()
	var r Report
	if err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("pending positions unknown: %v", err))
	}
	var shapes []shape
	for m, err := range maps(types...) {
		var d Map
		if err == nil {
			d, err = describe(m)
		}
		if isMapError(err) {
			r.Notes = append(r.Notes, err.Error())
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list maps: %w", err)
		}
		d.observe(m, kernel, positionsOnly)
		r.Maps = append(r.Maps, d)
		shapes = append(shapes, shapeOf(m, d.ID))
	}
	r.Notes = append(r.Notes, relate(r.Maps, shapes, opts)...)
	return &r, nil
}

// One describes m, which must be a ring or an arena: the error is
// [pin.ErrWrongType] otherwise. m stays the caller's. What cannot be found out
// without CAP_SYS_ADMIN is left out, with a note.
func One(m *ebpf.Map, opts Options) (*Map, error) {
	if err := checkType(m.Type(), types); err != nil {
		return nil, fmt.Errorf("describe map: %w", err)
	}
	d, err := describe(m)
	if err != nil {
		return nil, fmt.Errorf("describe map: %w", err)
	}
	kernel, err := kernelFields()
	if err != nil {
		d.Notes = append(d.Notes, fmt.Sprintf("pending position unknown: %v", err))
	}
	d.observe(m, kernel, withHead)
	one := []Map{d}
	notes := relate(one, []shape{shapeOf(m, d.ID)}, opts)
	runtime.KeepAlive(m) // the caller holds it meanwhile, and is found to
	one[0].Notes = append(one[0].Notes, notes...)
	return &one[0], nil
}

// describe returns what the kernel says about m itself.
func describe(m *ebpf.Map) (Map, error) {
	info, err := m.Info()
	if err != nil {
		return Map{}, err
	}
	id, _ := info.ID()
	extra, _ := info.MapExtra()
	memory, _ := info.Memlock()
	return Map{
		ID:       id,
		Name:     info.Name,
		Type:     pin.TypeName(info.Type),
		Bytes:    size(m),
		Flags:    info.Flags,
		MapExtra: extra,
		Memory:   memory,
	}, nil
}

// size is the size in bytes of a ring or arena. An arena's max_entries are
// pages (kernel/bpf/arena.c, arena_map_alloc), and 4 GiB do not fit 32 bits.
func size(m *ebpf.Map) uint64 {
	if m.Type() == ebpf.Arena {
		return uint64(m.MaxEntries()) * uint64(os.Getpagesize())
	}
	return uint64(m.MaxEntries())
}

// relate fills in who and what uses the maps, whose shapes are given in the same
// order, and returns notes on what stays unknown.
func relate(maps []Map, shapes []shape, opts Options) (notes []string) {
	if !opts.SkipUsers {
		usage, err := users(shapes)
		if err != nil {
			notes = append(notes, fmt.Sprintf("owners unknown: %v", err))
		} else {
			notes = append(notes, usage.Notes...)
			for i := range maps {
				maps[i].Users = known(usage.Users[maps[i].ID])
			}
		}
	}
	if !opts.SkipPrograms {
		programs, err := programsByMap()
		if err != nil {
			notes = append(notes, fmt.Sprintf("programs unknown: %v", err))
		} else {
			for i := range maps {
				maps[i].Programs = known(programs[maps[i].ID])
			}
		}
	}
	if !opts.SkipPins {
		pins, problems, err := pinsByMap()
		if err != nil {
			return append(notes, fmt.Sprintf("pins unknown: %v", err))
		}
		notes = append(notes, problems...)
		for i := range maps {
			maps[i].Pins = known(pins[maps[i].ID])
		}
	}
	return notes
}

// known makes a list that is empty one that is not nil, which would mean unknown.
func known[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
