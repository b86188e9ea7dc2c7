package inspect

import (
	"errors"
	"io/fs"

	"github.com/cilium/ebpf"
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
func programsOf(maps []Map) (map[ebpf.MapID][]Program, []string, error) {
	inner, err := innerMaps()
	if err != nil {
		return nil, nil, err
	}
	users := map[ebpf.MapID][]Program{}
	for i := range maps {
		users[maps[i].ID] = nil
	}
	types := map[ebpf.ProgramID]ebpf.ProgramType{}
	var id ebpf.ProgramID
	for {
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, nil, adminReason(err)
		}
		typ, p, used, err := programMaps(id)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, nil, adminReason(err)
		}
		use := func(m, via ebpf.MapID) {
			if list, asked := users[m]; asked {
				p.Via = via
				users[m] = append(list, p)
				types[id] = typ
			}
		}
		for _, m := range used {
			use(m, 0)
			for _, in := range inner[m] {
				use(in, m)
			}
		}
	}
	attached, notes := attachments(types)
	for _, list := range users {
		for i := range list {
			if attached != nil {
				list[i].Attached = known(attached[list[i].ID])
			}
		}
	}
	return users, notes, nil
}

// programMaps describes a program and lists the maps that it refers to.
func programMaps(id ebpf.ProgramID) (ebpf.ProgramType, Program, []ebpf.MapID, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return 0, Program{}, nil, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return 0, Program{}, nil, err
	}
	used, _ := info.MapIDs()
	return info.Type, Program{ID: id, Name: info.Name, Type: info.Type}, used, nil
}

// innerMaps returns the ids of the inner maps of each map of maps on the host.
func innerMaps() (map[ebpf.MapID][]ebpf.MapID, error) {
	inner := map[ebpf.MapID][]ebpf.MapID{}
	for m, err := range maps(ebpf.ArrayOfMaps, ebpf.HashOfMaps) {
		if isMapError(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := m.Info()
		if err != nil {
			return nil, err
		}
		outer, _ := info.ID()
		var key []byte
		var value uint32 // user space reads the id (kernel/bpf/map_in_map.c, bpf_map_fd_sys_lookup_elem)
		it := m.Iterate()
		for it.Next(&key, &value) {
			inner[outer] = append(inner[outer], ebpf.MapID(value))
		}
		// Ignore it.Err: an iteration can fail because the map changes. Keep the entries so far.
	}
	return inner, nil
}
