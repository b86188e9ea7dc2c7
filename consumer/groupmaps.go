package consumer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/innermap"
)

// NewGroupFromMap returns a Group of the rings in outer, a map of type ArrayOfMaps (such as a ring
// for each CPU) or HashOfMaps. [Group.Keys] returns the keys of a ring; a ring under several keys
// is one ring of the Group. The Group keeps its own mappings; outer may be closed.
//
// The Group does not follow later changes of outer. If an entry is replaced during the call, the
// Group gets the new ring. An entry of a HashOfMaps that is replaced continuously may be missing,
// because the iteration of the kernel can skip it.
//
// Each ring is opened with opts as by [NewReader], and its error names its key. The error matches
// [os.ErrPermission] without CAP_SYS_ADMIN, which opening maps by id requires
// (kernel/bpf/syscall.c, bpf_map_get_fd_by_id).
func NewGroupFromMap(outer *ebpf.Map, opts Options) (*Group, error) {
	if t := outer.Type(); t != ebpf.ArrayOfMaps && t != ebpf.HashOfMaps {
		return nil, fmt.Errorf("read group %s: map is a %s, not an ArrayOfMaps or HashOfMaps", outer, t)
	}
	return newGroup(opts, func(g *Group) error { return g.addAll(outer) })
}

// addAll adds the rings in outer.
func (g *Group) addAll(outer *ebpf.Map) error {
	entries, err := innermap.Entries(outer)
	if err != nil {
		return err
	}
	ids := make(map[ebpf.MapID]int)
	for _, e := range entries {
		id := e.ID
		if _, known := ids[id]; !known {
			id, err = g.addInner(outer, e.Key, id, ids)
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				continue // the entry was deleted
			}
			if err != nil {
				return fmt.Errorf("ring under key %x: %w", e.Key, err)
			}
		}
		i := ids[id]
		g.members.list[i].keys = append(g.members.list[i].keys, e.Key)
	}
	return nil
}

// addInner adds the ring under key to the Group, unless it is already a member, and returns the id
// of the ring. The argument id is the id when the entry was read.
func (g *Group) addInner(outer *ebpf.Map, key []byte, id ebpf.MapID, ids map[ebpf.MapID]int) (ebpf.MapID, error) {
	m, id, err := innermap.Open(outer, key, id)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	if _, known := ids[id]; known {
		return id, nil
	}
	ids[id], err = g.Add(m)
	return id, err
}
