package inspect

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/bpf/mapusers"
	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/once"
)

// host reads the maps of the host and their users: with the kernel's iterators, or without iterators one map and
// one process at a time. It loads an iterator when it first needs it, and keeps it loaded.
type host struct {
	maps    once.Value[*mapiter.Scanner]
	users   once.Value[*mapusers.Scanner]
	scanned mapiter.List    // buffer of Scan, reused
	held    map[holder]bool // what steadyUsers found last
	// types keeps the kernel's BTF in memory until both iterators are loaded.
	types *btf.Cache
}

// loadPause is the time between attempts to load an iterator after a failure. An attempt takes tens of
// milliseconds.
const loadPause = 10 * time.Second

func newHost() *host {
	h := new(host)
	h.maps.Pause, h.users.Pause = loadPause, loadPause
	return h
}

func (h *host) mapScanner() (*mapiter.Scanner, error) {
	return h.maps.Get(func() (*mapiter.Scanner, error) {
		h.types = kernelbtf.Cache()
		return mapiter.NewScanner()
	})
}

func (h *host) userScanner() (*mapusers.Scanner, error) {
	return h.users.Get(func() (*mapusers.Scanner, error) {
		defer func() { h.types = nil }()
		return mapusers.NewScanner()
	})
}

func (h *host) close() {
	if s, loaded := h.maps.Known(); loaded {
		s.Close()
	}
	if s, loaded := h.users.Known(); loaded {
		s.Close()
	}
}

// found is a list of maps.
type found struct {
	maps  []Map              // by ascending id, without users, programs and pins
	ids   []mapiter.Identity // ids[i] belongs to maps[i]; nil without the iterator
	perf  int                // number of perf event arrays
	notes []string
}

func (h *host) list() (found, error) {
	s, err := h.mapScanner()
	if err != nil {
		f, byID := listOneByOne()
		if errors.Is(err, unix.EPERM) && errors.Is(byID, unix.EPERM) {
			// With either set of privileges list works; name the lesser one.
			byID = fmt.Errorf("%w (needs CAP_BPF and CAP_PERFMON)", unix.EPERM)
		}
		return f, byID
	}
	if err := s.Scan(&h.scanned); err != nil {
		return found{}, err
	}
	entries := h.scanned.Entries
	f := found{maps: make([]Map, 0, len(entries)), perf: h.scanned.PerfEventArrays}
	for i := range entries {
		f.maps = append(f.maps, fromEntry(&entries[i]))
		f.ids = append(f.ids, entries[i].Identity)
	}
	return f, nil
}

// fromEntry describes the map of an entry.
func fromEntry(e *mapiter.Entry) Map {
	d := Map{
		ID:       e.ID,
		Name:     e.Name,
		Type:     e.Type,
		Bytes:    size(e.Type, e.MaxEntries),
		Flags:    e.Flags,
		MapExtra: e.MapExtra,
	}
	if e.Memory != nil {
		d.Memory = *e.Memory
	}
	if e.Arena != nil {
		d.Arena = arenaOf(e)
	}
	if e.Positions == nil {
		return d
	}
	p := &Positions{Consumer: e.Consumer, Producer: e.Producer, Pending: e.Pending, Overwrite: e.Overwrite, Refused: (*Refused)(e.Refused)}
	note := p.judge(d.Bytes, e.Steady)
	if note == "" && e.Header != nil {
		p.Busy, note = p.head(*e.Header)
	}
	d.Positions = p
	if note != "" {
		d.Notes = append(d.Notes, note)
	}
	return d
}

// listOneByOne is list without the iterator: it opens each map, and mmaps the position pages of rings.
func listOneByOne() (found, error) {
	kernel, err := kernelFields()
	var f found
	if err != nil {
		f.notes = append(f.notes, fmt.Sprintf("pending positions unknown: %v", err))
	}
	for m, err := range maps(append([]ebpf.MapType{ebpf.PerfEventArray}, types...)...) {
		if err == nil && m.Type() == ebpf.PerfEventArray {
			f.perf++
			continue
		}
		var d Map
		if err == nil {
			d, err = describe(m)
		}
		if isMapError(err) {
			f.notes = append(f.notes, err.Error())
			continue
		}
		if err != nil {
			return found{}, err
		}
		if err := d.observe(m, kernel); err != nil {
			d.Notes = append(d.Notes, fmt.Sprintf("positions unknown: %v", err))
		}
		f.maps = append(f.maps, d)
	}
	return f, nil
}

// complete sets fields of d from the iterator: the address of an arena, or the positions of a ring that could
// not be mapped. why is the error of mapping the ring.
func (h *host) complete(d *Map, why error) {
	_, err := h.mapScanner()
	var f found
	if err == nil {
		f, err = h.list()
	}
	switch {
	case err != nil && why != nil:
		d.Notes = append(d.Notes, fmt.Sprintf("positions unknown: %v; %v", why, err))
	case err != nil:
		d.Notes = append(d.Notes, fmt.Sprintf("address unknown: %v", err))
	}
	for _, m := range f.maps {
		if m.ID == d.ID {
			d.Positions, d.Arena = m.Positions, m.Arena
			d.Notes = append(d.Notes, m.Notes...)
			d.Memory = m.Memory
		}
	}
}

// relate sets the users, programs and pins of the maps. It returns notes on what is unknown, and whether
// users can be missing.
func (h *host) relate(maps []Map, opts Options) (notes []string, blind bool) {
	if !opts.SkipUsers {
		usage, err := h.steadyUsers(shapes(maps))
		if err != nil {
			notes = append(notes, fmt.Sprintf("owners unknown: %v", err))
		} else {
			notes, blind = append(notes, usage.Notes...), usage.blind != nil
			usage.findHomes()
			for i := range maps {
				maps[i].addUsers(usage)
			}
		}
	}
	if !opts.SkipPrograms {
		programs, problems, err := h.programsOf(maps)
		if err != nil {
			notes = append(notes, fmt.Sprintf("programs unknown: %v", err))
		} else {
			notes = append(notes, problems...)
			for i := range maps {
				maps[i].Programs = known(programs[maps[i].ID])
			}
		}
	}
	if !opts.SkipPins {
		pins, problems, err := pinsByMap()
		if err != nil {
			return append(notes, fmt.Sprintf("pins unknown: %v", err)), blind
		}
		notes = append(notes, problems...)
		for i := range maps {
			maps[i].Pins = known(pins[maps[i].ID])
		}
	}
	return notes, blind
}

func shapes(maps []Map) []shape {
	list := make([]shape, 0, len(maps))
	for i := range maps {
		list = append(list, shape{maps[i].ID, maps[i].Type, maps[i].Bytes})
	}
	return list
}
