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
	byState
	byName
	byID
	orders // the number of orders above
)

var orderNames = [orders]string{"fill", "rate", "lag", "state", "name", "id"}

// rows returns the maps that match the filter, sorted. It sorts maps with equal keys by id: a row then
// stays in place from sample to sample.
func rows(maps []inspect.Map, filter string, by order, reverse bool) []*inspect.Map {
	var list []*inspect.Map
	for i := range maps {
		if matches(&maps[i], filter) {
			list = append(list, &maps[i])
		}
	}
	slices.SortStableFunc(list, func(a, b *inspect.Map) int {
		n := compare(a, b, by)
		if reverse {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(a.ID, b.ID))
	})
	return list
}

// compare returns a negative number if a comes before b: the more urgent map comes first.
func compare(a, b *inspect.Map, by order) int {
	switch by {
	case byFill:
		return cmp.Compare(fill(b), fill(a))
	case byRate:
		return cmp.Compare(flow(b).ProducedRate, flow(a).ProducedRate)
	case byLag:
		return cmp.Compare(flow(b).Lag, flow(a).Lag)
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
