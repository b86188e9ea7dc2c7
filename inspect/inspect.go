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

// Options skip what the caller does not need. The zero value skips nothing.
type Options struct {
	SkipUsers    bool // Map.Users stays nil
	SkipPrograms bool // Map.Programs stays nil
	SkipPins     bool // Map.Pins stays nil
}

// Report describes the rings and arenas of the host.
type Report struct {
	Time time.Time // when the positions were read
	Maps []Map     // by ascending id
	// Notes say what is unknown about the host, and why.
	Notes []string
}

// Map describes one ring or arena. A nil pointer or slice means unknown, or skipped by [Options]; Notes say
// why.
type Map struct {
	ID   ebpf.MapID
	Name string       // at most 15 bytes, may be empty
	Type ebpf.MapType // RingBuf, UserRingbuf or Arena
	// Bytes is the size: of a ring its data, without the position pages; of an arena the most that can
	// be allocated in it.
	Bytes    uint64
	Flags    uint32 // BPF_F_*
	MapExtra uint64 // of an arena: the address given at creation, or 0
	// Memory is the size in bytes of the pages that the kernel holds: of a ring data and positions, of
	// an arena the allocated pages. It is 0 for arenas before Linux 7.3, which do not count them.
	Memory uint64

	Positions *Positions // of a ring
	Arena     *Arena     // of an arena
	// Flow is what went through a ring. Only a [Sampler] sets it, if the positions are known.
	Flow *Flow

	Users []User // processes that hold or map it, this one included
	// UnseenWriters counts the writable mappings of processes that this one cannot see; see
	// [Usage.Unseen].
	UnseenWriters int
	Programs      []Program // programs that use it
	Pins          []string  // paths
	// Notes say what is unknown about the map, or wrong with it.
	Notes []string
}

// Arena is where an arena lies.
type Arena struct {
	// UserBase is the address at which every process maps it. It is 0 until the first mapping if
	// none was given at creation.
	UserBase uint64
	// Pages is the number of allocated pages; nil before Linux 7.3, which does not count them.
	Pages *uint64
}

// arenaOf returns where the arena of an entry lies.
func arenaOf(e *mapiter.Entry) *Arena {
	a := &Arena{UserBase: e.UserBase}
	if e.Memory != nil {
		pages := *e.Memory / uint64(os.Getpagesize())
		a.Pages = &pages
	}
	return a
}

// All describes every ring and arena on the host. With the kernel's iterator over maps it takes CAP_BPF
// and CAP_PERFMON, and opens no map; on a kernel without it, it takes CAP_SYS_ADMIN.
func All(opts Options) (*Report, error) {
	h := newHost()
	defer h.close()
	found, err := h.list()
	if err != nil {
		return nil, fmt.Errorf("list maps: %w", err)
	}
	r := Report{Time: time.Now(), Maps: found.maps, Notes: found.notes}
	notes, _ := h.relate(r.Maps, opts)
	r.Notes = append(r.Notes, notes...)
	return &r, nil
}

// One describes m, a ring or an arena; for other types it returns [pin.ErrWrongType]. m stays the
// caller's. If m was opened read-only ([LookupToRead]), its positions take CAP_BPF and CAP_PERFMON.
// Notes name what is missing without CAP_SYS_ADMIN.
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
	notes, _ := h.relate(one, opts)
	runtime.KeepAlive(m) // so that the caller is found to hold it
	one[0].Notes = append(one[0].Notes, notes...)
	return &one[0], nil
}

// describe returns the properties of m itself.
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

// known returns list, or an empty list for nil, which would mean unknown.
func known[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
