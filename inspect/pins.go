package inspect

import (
	"fmt"
	"iter"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/pin"
)

// pinsByMap returns the sorted paths at which maps are pinned, and notes on pins that it could not read.
func pinsByMap() (pins map[ebpf.MapID][]string, notes []string, err error) {
	roots, err := bpffs.Mounts()
	if err != nil {
		return nil, nil, err
	}
	pins = map[ebpf.MapID][]string{}
	failed := 0
	var example error
	for e, err := range everyPin(roots) {
		switch {
		case err != nil:
			failed++
			example = err
		case e.Kind == pin.KindMap && !slices.Contains(pins[e.ID], e.Path): // a bpffs mounted inside another is walked twice
			pins[e.ID] = append(pins[e.ID], e.Path)
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

// everyPin yields the pins below several directories, as [pin.Walk] does.
func everyPin(roots []string) iter.Seq2[pin.Entry, error] {
	return func(yield func(pin.Entry, error) bool) {
		for _, dir := range roots {
			for e, err := range pin.Walk(dir) {
				if !yield(e, err) {
					return
				}
			}
		}
	}
}
