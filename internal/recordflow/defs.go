package recordflow

import (
	"encoding/binary"
	"slices"
)

// defSet is a set of instructions: 0 if it is empty, the number of the instruction plus 1 if there is one, or
// negative, the index of one of defSets. Equal sets have equal numbers.
type defSet int32

// defSets has the sets of several instructions.
type defSets struct {
	sets   [][]int32 // in order
	ids    map[string]defSet
	unions map[[2]defSet]defSet
	space  []int32
}

// Bounds of the sets: a set that would be larger lacks some instructions.
const (
	maxDefs = 64
	maxSets = 1 << 16
)

// noDef is no instruction.
const noDef = -1

func oneDef(def int32) defSet { return defSet(def) + 1 }

// members returns the instructions in s, in order. If there is only one, it is in space.
func (d *defSets) members(s defSet, space *[1]int32) []int32 {
	switch {
	case s == 0:
		return nil
	case s > 0:
		space[0] = int32(s) - 1
		return space[:]
	}
	return d.sets[-1-s]
}

// union returns the set of what is in x or y.
func (d *defSets) union(x, y defSet) defSet {
	switch {
	case x == y || y == 0:
		return x
	case x == 0:
		return y
	}
	key := [2]defSet{min(x, y), max(x, y)}
	if s, ok := d.unions[key]; ok {
		return s
	}
	if len(d.unions) >= maxSets {
		return x
	}
	s := d.id(d.merged(x, y))
	d.unions[key] = s
	return s
}

// merged returns what is in x or y, in order. The result is valid until the next call.
func (d *defSets) merged(x, y defSet) []int32 {
	var one, two [1]int32
	a, b, all := d.members(x, &one), d.members(y, &two), d.space[:0]
	for len(a)+len(b) > 0 && len(all) < maxDefs {
		switch {
		case len(a) == 0 || len(b) > 0 && b[0] < a[0]:
			all, b = append(all, b[0]), b[1:]
		case len(b) == 0 || a[0] < b[0]:
			all, a = append(all, a[0]), a[1:]
		default:
			all, a, b = append(all, a[0]), a[1:], b[1:]
		}
	}
	d.space = all
	return all
}

// id returns the number of a set of several instructions.
func (d *defSets) id(set []int32) defSet {
	key := make([]byte, 0, 4*maxDefs) // on the stack
	for _, def := range set {
		key = binary.NativeEndian.AppendUint32(key, uint32(def))
	}
	s, ok := d.ids[string(key)]
	if !ok {
		d.sets = append(d.sets, slices.Clone(set))
		s = defSet(-len(d.sets))
		d.ids[string(key)] = s
	}
	return s
}
