// Package innermap finds and opens the maps in a map of maps, which other processes may change meanwhile.
package innermap

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cilium/ebpf"
)

// Entry is an entry of a map of maps.
type Entry struct {
	Key []byte
	ID  ebpf.MapID // of the inner map when the entry was read
}

// Entries returns the entries of outer, an array or a hash of maps. If a hash is updated during an
// iteration, the iteration may miss entries that are in the hash all the time, or start over
// (htab_map_get_next_key in kernel/bpf/hashtab.c). So Entries iterates until an iteration finds no new key.
func Entries(outer *ebpf.Map) ([]Entry, error) {
	const tries = 32
	var all []Entry
	known := make(map[string]bool)
	for i := range tries {
		n := len(all)
		var key []byte
		var id ebpf.MapID
		it := outer.Iterate()
		for it.Next(&key, &id) {
			if !known[string(key)] {
				known[string(key)] = true
				all = append(all, Entry{slices.Clone(key), id})
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

// Open opens the map that is now under key, and returns its id. The argument id is the id when the
// entry was read; since then the entry may have been replaced and that map freed. The error is
// [ebpf.ErrKeyNotExist] if the entry was deleted, and matches [fs.ErrPermission] without CAP_SYS_ADMIN.
func Open(outer *ebpf.Map, key []byte, id ebpf.MapID) (*ebpf.Map, ebpf.MapID, error) {
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
		if id == was { // the entry still refers to this map and keeps it alive, so err has another cause
			return nil, 0, err
		}
	}
	return nil, 0, fmt.Errorf("entry was replaced %d times while its map was being opened", tries)
}
