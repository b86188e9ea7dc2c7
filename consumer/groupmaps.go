package consumer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cilium/ebpf"
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
	return newGroup(opts, func(g *Group, epoll int) error { return g.addAll(epoll, outer) })
}

// addAll adds the rings in outer.
func (g *Group) addAll(epoll int, outer *ebpf.Map) error {
	entries, err := entriesOf(outer)
	if err != nil {
		return err
	}
	ids := make(map[ebpf.MapID]int)
	for _, e := range entries {
		id := e.id
		if _, known := ids[id]; !known {
			id, err = g.addInner(epoll, outer, e.key, id, ids)
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				continue // the entry was deleted
			}
			if err != nil {
				return fmt.Errorf("ring under key %x: %w", e.key, err)
			}
		}
		i := ids[id]
		g.members[i].keys = append(g.members[i].keys, e.key)
	}
	return nil
}

// addInner adds the ring under key to the Group, unless it is already a member, and returns the id
// of the ring. The argument id is the id when the entry was read.
func (g *Group) addInner(epoll int, outer *ebpf.Map, key []byte, id ebpf.MapID, ids map[ebpf.MapID]int) (ebpf.MapID, error) {
	m, id, err := openInner(outer, key, id)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	if _, known := ids[id]; known {
		return id, nil
	}
	ids[id] = len(g.members)
	return id, g.add(epoll, m)
}

// openInner opens the ring that is now under key, and returns its id. The argument id is the id
// when the entry was read; since then the entry may have been replaced and that ring freed. The
// error is [ebpf.ErrKeyNotExist] if the entry was deleted.
func openInner(outer *ebpf.Map, key []byte, id ebpf.MapID) (*ebpf.Map, ebpf.MapID, error) {
	const tries = 100 // another process may keep replacing the entry
	for range tries {
		m, err := ebpf.NewMapFromID(id)
		if !errors.Is(err, fs.ErrNotExist) {
			return m, id, err
		}
		was := id
		if err := outer.Lookup(key, &id); err != nil {
			return nil, 0, err
		}
		if id == was { // the entry still refers to this ring and keeps it alive, so err has another cause
			return nil, 0, err
		}
	}
	return nil, 0, fmt.Errorf("entry was replaced %d times while its ring was being opened", tries)
}

// entry is an entry of a map of maps.
type entry struct {
	key []byte
	id  ebpf.MapID // of the inner map when the entry was read
}

// entriesOf returns the entries of outer. If a hash is updated during an iteration, the iteration
// may miss entries that are in the hash all the time, or start over (htab_map_get_next_key in
// kernel/bpf/hashtab.c). So entriesOf iterates until an iteration finds no new key.
func entriesOf(outer *ebpf.Map) ([]entry, error) {
	const tries = 32
	var all []entry
	known := make(map[string]bool)
	for i := range tries {
		n := len(all)
		var key []byte
		var id ebpf.MapID
		it := outer.Iterate()
		for it.Next(&key, &id) {
			if !known[string(key)] {
				known[string(key)] = true
				all = append(all, entry{slices.Clone(key), id})
			}
		}
		err := it.Err()
		if err != nil && (i == tries-1 || !errors.Is(err, ebpf.ErrIterationAborted)) {
			return nil, err
		}
		if err == nil && (len(all) == n || outer.Type() == ebpf.ArrayOfMaps) {
			break
		}
	}
	return all, nil
}
