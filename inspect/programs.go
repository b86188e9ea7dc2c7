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
	all, err := h.loadedPrograms()
	if errors.Is(err, fs.ErrPermission) {
		all, err = readPrograms()
	}
	if err != nil {
		return nil, nil, err
	}
	users := map[ebpf.MapID][]Program{}
	for i := range maps {
		users[maps[i].ID] = nil
	}
	types := map[ebpf.ProgramID]ebpf.ProgramType{}
	for _, info := range all.programs {
		use := func(m, via ebpf.MapID) {
			list, asked := users[m]
			if !asked {
				return
			}
			if n := len(list); n > 0 && list[n-1].ID == info.ID && list[n-1].Via == via {
				return // the map of maps has the map under several keys
			}
			users[m] = append(list, Program{ID: info.ID, Name: info.Name, Type: info.Type, Via: via})
			types[info.ID] = info.Type
		}
		for _, m := range info.Maps {
			use(m, 0)
			for _, in := range all.inner[m] {
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
	return users, append(all.notes, notes...), nil
}

// loaded is what the kernel has of programs.
type loaded struct {
	programs []*syscall.ProgramInfo      // by ascending id
	inner    map[ebpf.MapID][]ebpf.MapID // the maps in each map of maps
	notes    []string                    // on what inner lacks
}

// loadedPrograms asks for the programs of the host. It needs CAP_SYS_ADMIN.
func (h *host) loadedPrograms() (*loaded, error) {
	all := &loaded{}
	if err := h.readInnerMaps(all); err != nil {
		return nil, err
	}
	for id := ebpf.ProgramID(0); ; {
		var err error
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		info, err := syscall.ReadProgramInfo(id)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all.programs = append(all.programs, info)
	}
}

// readPrograms is loadedPrograms for a process without CAP_SYS_ADMIN: it reads the kernel's memory.
func readPrograms() (*loaded, error) {
	r, err := progreader.New()
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w (needs CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON)", unix.EPERM)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	all := &loaded{inner: map[ebpf.MapID][]ebpf.MapID{}}
	if all.programs, err = r.Programs(); err != nil {
		return nil, err
	}
	var unread error
	slices.SortFunc(all.programs, func(a, b *syscall.ProgramInfo) int { return cmp.Compare(a.ID, b.ID) })
	for _, info := range all.programs {
		for _, m := range info.Maps {
			if _, known := all.inner[m]; known {
				continue
			}
			if all.inner[m], err = r.Inner(m); errors.Is(err, progreader.ErrNotPreallocated) {
				unread = err
			} else if err != nil {
				return nil, err
			}
		}
	}
	all.miss(unread)
	return all, nil
}

// maxInner bounds how many maps of one map of maps are looked at.
const maxInner = 1 << 16

// readInnerMaps reads the maps of maps of the host.
func (h *host) readInnerMaps(all *loaded) error {
	all.inner = map[ebpf.MapID][]ebpf.MapID{}
	var reader innermaps.Reader
	defer reader.Close()
	var unread error
	for m, err := range h.mapsOfMaps() {
		if isMapError(err) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := syscall.MapInfoOf(m)
		if err != nil {
			return err
		}
		found, err := reader.Of(m, maxInner)
		if errors.Is(err, innermaps.ErrSlow) {
			unread = err
		} else if err != nil {
			return err
		}
		all.inner[info.ID] = found
	}
	all.miss(unread)
	return nil
}

// miss notes why a map of maps was not read to the end, if err is not nil.
func (l *loaded) miss(err error) {
	if err != nil {
		l.notes = append(l.notes, fmt.Sprintf("programs that use a map through a map of maps can be missing: %v", err))
	}
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
