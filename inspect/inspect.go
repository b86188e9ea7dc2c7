package inspect

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/maptype"
)

// Options says which parts of a description to skip. The zero value skips nothing.
type Options struct {
	SkipUsers    bool // Map.Users stays nil
	SkipPrograms bool // Map.Programs stays nil
	SkipPins     bool // Map.Pins stays nil
}

// Report describes the rings and arenas of the host.
type Report struct {
	Time time.Time // when the positions were read
	Maps []Map     // by ascending id
	// PerfEventArrays counts the maps of type PERF_EVENT_ARRAY, the older way for programs to report
	// events. This package does not describe them.
	PerfEventArrays int
	// Notes say what is unknown about the host, and why.
	Notes []string
}

// Map describes one ring or arena. A nil pointer or slice means unknown, or skipped by [Options]. The Notes of
// the Map or of the [Report] say what is unknown, and why.
type Map struct {
	ID   ebpf.MapID
	Name string       // at most 15 bytes, may be empty
	Type ebpf.MapType // RingBuf, UserRingbuf or Arena
	// Bytes is the size of a ring's data, without its position pages, or the maximum that can be
	// allocated in an arena.
	Bytes    uint64
	Flags    uint32 // BPF_F_*
	MapExtra uint64 // address given at the creation of an arena, or 0
	// Memory is the size in bytes of the pages that the kernel has allocated: data and positions of a
	// ring, or the allocated pages of an arena. It is 0 for arenas before Linux 7.3, which does not
	// count their pages.
	Memory uint64

	Positions *Positions // of a ring; nil for arenas
	Arena     *Arena     // of an arena; nil for rings
	// Flow describes the bytes that went through a ring. Only a [Sampler] sets it, and only if
	// Positions is known.
	Flow *Flow

	Users []User // processes that hold or map the map, including the caller
	// UnseenWriters counts the writable mappings of processes that the caller cannot see; see
	// [Usage.Unseen]. It is 0 too if the kernel's count is unknown.
	UnseenWriters int
	Programs      []Program // programs that use the map
	Pins          []string  // paths at which the map is pinned
	// Notes say what is unknown about the map, or wrong with it.
	Notes []string
}

// Arena describes the address and the pages of an arena.
type Arena struct {
	// UserBase is the address at which every process maps the arena. If the arena was created
	// without an address, UserBase is 0 until the first mapping fixes it.
	UserBase uint64
	// Pages is the number of allocated pages; nil on kernels before 7.3, which do not count them.
	Pages *uint64
}

// arenaOf describes the arena of an entry.
func arenaOf(e *mapiter.Entry) *Arena {
	a := &Arena{UserBase: e.UserBase}
	if e.Memory != nil {
		pages := *e.Memory / uint64(os.Getpagesize())
		a.Pages = &pages
	}
	return a
}

// All describes every ring and arena on the host. It uses the kernel's iterator over maps, which needs
// CAP_BPF and CAP_PERFMON, and opens no map. If the iterator is not available, All opens each map,
// which needs CAP_SYS_ADMIN. If it may do neither, the error matches [fs.ErrPermission].
func All(opts Options) (*Report, error) {
	h := newHost()
	defer h.close()
	found, err := h.list()
	if err != nil {
		return nil, fmt.Errorf("list maps: %w", err)
	}
	r := Report{Time: time.Now(), Maps: found.maps, PerfEventArrays: found.perf, Notes: found.notes}
	notes, _ := h.relate(r.Maps, opts)
	r.Notes = append(r.Notes, notes...)
	return &r, nil
}

// One describes m, a ring or an arena; for other types the error matches [pin.ErrWrongType]. The caller still
// owns m. If m was opened read-only ([LookupToRead]), reading its positions needs CAP_BPF and
// CAP_PERFMON. Without CAP_SYS_ADMIN some properties are unknown; Notes name them.
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
	// observe fails if m was opened read-only, because then m cannot be mapped.
	if why := d.observe(m, kernel); why != nil || m.Type() == ebpf.Arena {
		h.complete(&d, why)
	}
	one := []Map{d}
	notes, _ := h.relate(one, opts)
	runtime.KeepAlive(m) // the caller holds m until its users have been found
	one[0].Notes = append(one[0].Notes, notes...)
	return &one[0], nil
}

// describe returns the properties of m that do not depend on other objects or on the ring's positions.
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
		Type:     info.Type,
		Bytes:    size(info.Type, info.MaxEntries),
		Flags:    info.Flags,
		MapExtra: extra,
		Memory:   memory,
	}
	if d.Type != ebpf.Arena {
		d.Memory = d.Bytes + ringMetaPages*uint64(os.Getpagesize())
	}
	return d, nil
}

// ringMetaPages is RINGBUF_NR_META_PAGES, kernel/bpf/ringbuf.c: the two position
// pages, and the pages that processes cannot map.
const ringMetaPages = 3

// size returns the size in bytes of a ring or arena. An arena's max_entries counts
// pages (kernel/bpf/arena.c, arena_map_alloc).
func size(typ ebpf.MapType, maxEntries uint32) uint64 {
	if typ == ebpf.Arena {
		return uint64(maxEntries) * uint64(os.Getpagesize())
	}
	return uint64(maxEntries)
}

// known returns list, or an empty list if list is nil, since nil means unknown in a [Map].
func known[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
