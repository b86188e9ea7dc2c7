package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/maptype"
)

// order is what rows are sorted by.
type order int

const (
	byFill order = iota
	byRate
	byLag
	byLost
	byState
	byName
	byID
	orders // the number of orders above
)

// Orders are the names of the orders of rows. The first is the default.
var Orders = []string{byFill: "fill", byRate: "rate", byLag: "lag", byLost: "lost", byState: "state", byName: "name", byID: "id"}

// Sorted returns maps in the order with the given name, one of [Orders].
func (f *Drops) Sorted(maps []inspect.Map, by string) []*inspect.Map {
	return f.rows(maps, "", orderOf(by), false)
}

// orderOf returns the order with the given name, or the default.
func orderOf(name string) order { return order(max(slices.Index(Orders, name), 0)) }

// rows returns the maps that match the filter, sorted. It sorts maps with equal keys by id: a row then
// stays in place from sample to sample.
func (f *Drops) rows(maps []inspect.Map, filter string, by order, reverse bool) []*inspect.Map {
	var list []*inspect.Map
	for i := range maps {
		if matches(&maps[i], filter) {
			list = append(list, &maps[i])
		}
	}
	slices.SortStableFunc(list, func(a, b *inspect.Map) int {
		n := f.compare(a, b, by)
		if reverse {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(a.ID, b.ID))
	})
	return list
}

// compare returns a negative number if a comes before b: the more urgent map comes first.
func (f *Drops) compare(a, b *inspect.Map, by order) int {
	switch by {
	case byFill:
		return cmp.Compare(fill(b), fill(a))
	case byRate:
		return cmp.Compare(flow(b).ProducedRate, flow(a).ProducedRate)
	case byLag:
		return cmp.Compare(flow(b).Lag, flow(a).Lag)
	case byLost:
		return cmp.Compare(f.lost(b), f.lost(a))
	case byState:
		return cmp.Compare(urgency(b), urgency(a))
	case byName:
		return cmp.Compare(a.Name, b.Name)
	}
	return cmp.Compare(a.ID, b.ID)
}

// fill returns how full a ring is, from 0 to 1. It returns -1 for a map without positions, such as an
// arena.
func fill(m *inspect.Map) float64 {
	if m.Positions == nil {
		return -1
	}
	return m.Positions.Fill
}

// lost returns how many bytes a ring has lost, or -1 if that is unknown.
func (f *Drops) lost(m *inspect.Map) float64 {
	if n, known := f.Lost(m); known {
		return n
	}
	return -1
}

func flow(m *inspect.Map) inspect.Flow {
	if m.Flow == nil {
		return inspect.Flow{}
	}
	return *m.Flow
}

func urgency(m *inspect.Map) int {
	return slices.Index([]inspect.State{"", inspect.Idle, inspect.Flowing, inspect.Unconsumed,
		inspect.ConsumerStuck, inspect.ProducerStuck, inspect.Contradictory}, flow(m).State)
}

// matches reports whether the row of m contains each of the words in filter.
func matches(m *inspect.Map, filter string) bool {
	text := strings.ToLower(fmt.Sprintf("%d %s %s %s %s", m.ID, m.Name, maptype.Name(m.Type), m.OwnerNames(), flow(m).State))
	for _, word := range strings.Fields(strings.ToLower(filter)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}
