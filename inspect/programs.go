package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/innermaps"
	"github.com/rbtool/rbtool/internal/bpf/progreader"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Program is a loaded program that uses a map.
type Program struct {
	ID   ebpf.ProgramID
	Name string // at most 15 bytes, may be empty
	Type ebpf.ProgramType
	// Via is the map of maps through which the program reaches the map; 0 if it refers to the map itself.
	Via ebpf.MapID
	// Attached says where the program is attached; nil if unknown.
	Attached []Attachment
}

// programsOf returns for each of the maps the programs that use it, by ascending id, and notes on what is
// unknown.
func (h *host) programsOf(maps []Map) (map[ebpf.MapID][]Program, []string, error) {
	loaded, inner, err := h.loadedPrograms()
	if errors.Is(err, fs.ErrPermission) {
		loaded, inner, err = readPrograms()
	}
	if err != nil {
		return nil, nil, err
	}
	users := map[ebpf.MapID][]Program{}
	for i := range maps {
		users[maps[i].ID] = nil
	}
	types := map[ebpf.ProgramID]ebpf.ProgramType{}
	for _, info := range loaded {
		use := func(m, via ebpf.MapID) {
			if list, asked := users[m]; asked {
				users[m] = append(list, Program{ID: info.ID, Name: info.Name, Type: info.Type, Via: via})
				types[info.ID] = info.Type
			}
		}
		for _, m := range info.Maps {
			use(m, 0)
			for _, in := range inner(m) {
				use(in, m)
			}
		}
	}
	attached, notes := Attachments(types)
	for _, list := range users {
		for i := range list {
			if attached != nil {
				list[i].Attached = known(attached[list[i].ID])
			}
		}
	}
	return users, notes, nil
}

// loadedPrograms lists the programs of the host, by ascending id, and returns what tells the maps in a map of maps. It needs
// CAP_SYS_ADMIN.
func (h *host) loadedPrograms() (loaded []*syscall.ProgramInfo, inner func(ebpf.MapID) []ebpf.MapID, err error) {
	in, err := h.innerMaps()
	if err != nil {
		return nil, nil, err
	}
	for id := ebpf.ProgramID(0); ; {
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			return loaded, func(m ebpf.MapID) []ebpf.MapID { return in[m] }, nil
		} else if err != nil {
			return nil, nil, err
		}
		info, err := syscall.ReadProgramInfo(id)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		loaded = append(loaded, info)
	}
}

// readPrograms is loadedPrograms for a process without CAP_SYS_ADMIN: it reads the kernel's memory.
func readPrograms() (loaded []*syscall.ProgramInfo, inner func(ebpf.MapID) []ebpf.MapID, err error) {
	r, err := progreader.New()
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w (needs CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON)", unix.EPERM)
	}
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if loaded, err = r.Programs(); err != nil {
		return nil, nil, err
	}
	slices.SortFunc(loaded, func(a, b *syscall.ProgramInfo) int { return cmp.Compare(a.ID, b.ID) })
	in := map[ebpf.MapID][]ebpf.MapID{}
	for _, info := range loaded {
		for _, m := range info.Maps {
			if _, known := in[m]; known {
				continue
			}
			if in[m], err = r.Inner(m); err != nil && !errors.Is(err, progreader.ErrNotPreallocated) {
				return nil, nil, err
			}
		}
	}
	return loaded, func(m ebpf.MapID) []ebpf.MapID { return in[m] }, nil
}

// maxInner bounds how many maps of one map of maps are looked at.
const maxInner = 1 << 16

// innerMaps returns the ids of the inner maps of each map of maps on the host.
func (h *host) innerMaps() (map[ebpf.MapID][]ebpf.MapID, error) {
	inner := map[ebpf.MapID][]ebpf.MapID{}
	var reader innermaps.Reader
	defer reader.Close()
	for m, err := range h.mapsOfMaps() {
		if isMapError(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := syscall.MapInfoOf(m)
		if err != nil {
			return nil, err
		}
		found, err := reader.Of(m, maxInner)
		if err != nil && !errors.Is(err, innermaps.ErrSlow) {
			return nil, err
		}
		inner[info.ID] = found
	}
	return inner, nil
}

// mapsOfMaps opens the maps of maps of the host. With the iterator it opens no other map: whoever looks for the
// users of a map meanwhile would find this process among them.
func (h *host) mapsOfMaps() iter.Seq2[*ebpf.Map, error] {
	types := []ebpf.MapType{ebpf.ArrayOfMaps, ebpf.HashOfMaps}
	s, err := h.mapScanner()
	if err == nil {
		err = s.Scan(&h.scanned)
	}
	if err != nil {
		return maps(types...)
	}
	return open(slices.Clone(h.scanned.MapsOfMaps), types...)
}
