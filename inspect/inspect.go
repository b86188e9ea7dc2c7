package inspect

import (
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/maptype"
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
	// Memory is how many bytes of pages the kernel holds for it: of a ring data and
	// positions, of an arena what is allocated in it, which kernels before 7.3 do
	// not count: 0.
	Memory uint64 `json:"memory"`

	*Positions // of rings; nil where they could not be read
	*Place     // of arenas; nil where it could not be read

	Users []User `json:"owners"` // processes that hold or map it, this one included
	// UnseenWriters counts the writable mappings of processes that cannot be seen from
	// here, see [Usage.Unseen].
	UnseenWriters int       `json:"unseen_writers,omitempty"`
	Programs      []Program `json:"programs"` // programs that use it
	Pins          []string  `json:"pins"`     // paths
	// Notes say what could not be found out, or is wrong with it.
	Notes []string `json:"notes,omitempty"`

	typ      ebpf.MapType
	blind    bool             // processes may be missing from Users
	identity mapiter.Identity // 0 where the iterator cannot be used
}

// Place is where an arena lies.
type Place struct {
	// UserBase is the address at which every process maps it: 0 as long as none
	// did, and none was asked for.
	UserBase uint64 `json:"user_base"`
	// Pages is how many pages are allocated: nil before Linux 7.3, which first counts them.
	Pages *uint64 `json:"pages,omitempty"`
}

// placeOf is where the arena of an entry lies.
func placeOf(e *mapiter.Entry) *Place {
	p := &Place{UserBase: e.UserBase}
	if e.Memory != nil {
		pages := *e.Memory / uint64(os.Getpagesize())
		p.Pages = &pages
	}
	return p
}

// All describes every ring and arena on the host. Where the kernel's iterator over
// maps can be used (package mapiter) it takes CAP_BPF and CAP_PERFMON and opens
// none of them, elsewhere CAP_SYS_ADMIN.
func All(opts Options) (*Report, error) {
	h := newHost()
	defer h.close()
	found, err := h.list()
	if err != nil {
		return nil, fmt.Errorf("list maps: %w", err)
	}
	r := Report{Maps: found.maps, Notes: found.notes}
	r.Notes = append(r.Notes, h.relate(r.Maps, opts)...)
	return &r, nil
}

// One describes m, which must be a ring or an arena: the error is
// [pin.ErrWrongType] otherwise. m stays the caller's, and may have been opened read-only
// ([LookupToRead]): then its positions come from the iterator (package mapiter). Notes name
// what is missing without CAP_SYS_ADMIN.
func One(m *ebpf.Map, opts Options) (*Map, error) {
	if err := maptype.Check(m.Type(), types); err != nil {
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
	h := newHost()
	defer h.close()
	// A map that was opened read-only cannot be mapped.
	if why := d.observe(m, kernel); why != nil || m.Type() == ebpf.Arena {
		h.complete(&d, why)
	}
	one := []Map{d}
	notes := h.relate(one, opts)
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
	d := Map{
		ID:       id,
		Name:     info.Name,
		Type:     maptype.Name(info.Type),
		Bytes:    size(info.Type, info.MaxEntries),
		Flags:    info.Flags,
		MapExtra: extra,
		Memory:   memory,
		typ:      info.Type,
	}
	if d.typ != ebpf.Arena {
		d.Memory = d.Bytes + ringMetaPages*uint64(os.Getpagesize())
	}
	return d, nil
}

// ringMetaPages is RINGBUF_NR_META_PAGES, kernel/bpf/ringbuf.c: the position
// pages and the page of what processes cannot map.
const ringMetaPages = 3

// size is the size in bytes of a ring or arena. An arena's max_entries are
// pages (kernel/bpf/arena.c, arena_map_alloc), and 4 GiB do not fit 32 bits.
func size(typ ebpf.MapType, maxEntries uint32) uint64 {
	if typ == ebpf.Arena {
		return uint64(maxEntries) * uint64(os.Getpagesize())
	}
	return uint64(maxEntries)
}

// known makes a list that is empty one that is not nil, which would mean unknown.
func known[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
