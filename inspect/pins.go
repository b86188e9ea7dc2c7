package inspect

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/pin"
)

// pinsByMap returns the sorted paths at which maps are pinned, and notes on pins that it could not read.
func pinsByMap() (pins map[ebpf.MapID][]string, notes []string, err error) {
	mounts, err := bpffs.Mounts()
	if err != nil {
		return nil, nil, err
	}
	pins = map[ebpf.MapID][]string{}
	failed := 0
	var example error
	for _, dir := range mounts {
		for e, err := range pin.Walk(dir) {
			switch {
			case err != nil:
				failed++
				example = err
			case e.Kind == pin.KindMap && !slices.Contains(pins[e.ID], e.Path): // a bpffs mounted inside another is walked twice
				pins[e.ID] = append(pins[e.ID], e.Path)
			}
		}
	}
	for _, paths := range pins {
		slices.Sort(paths)
	}
	if failed > 0 {
		notes = append(notes, fmt.Sprintf("%d pins unknown; the last: %v", failed, example))
	}
	return pins, notes, nil
}
