package consumer

import (
	"errors"
	"slices"

	"github.com/cilium/ebpf"
)

// entry is an entry of a map of maps.
type entry struct {
	key []byte
	id  ebpf.MapID // of the inner map, when the entry was read
}

// entriesOf returns the entries of outer. While a hash is updated, an iteration may miss entries
// that are in it all the time, or start over (htab_map_get_next_key in kernel/bpf/hashtab.c): it is
// repeated until one finds no further key.
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
