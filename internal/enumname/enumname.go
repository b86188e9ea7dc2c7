// Package enumname finds the enumerators that name other things: types, or members of a union.
package enumname

import (
	"slices"
	"strings"
)

// maxNames bounds the names that are compared with each other.
const maxNames = 256

// Match returns for each of names the index of the only enumerator of this name, or -1. An enumerator has the name if it
// has the same words, or else begins or ends with them. Case does not count, nor do words with which all enumerators
// or all names begin or end: KIND_OPEN and KIND_CLOSE are open_event and close_event. Two names do not get one
// enumerator.
func Match(enumerators, names []string) []int {
	found := slices.Repeat([]int{-1}, len(names))
	if len(enumerators) > maxNames || len(names) > maxNames {
		return found
	}
	tags := split(enumerators)
	owner := map[int]int{}
	for i, words := range split(names) {
		at, ok := find(tags, words)
		if !ok {
			continue
		}
		if other, taken := owner[at]; taken {
			found[other] = -1
			continue
		}
		owner[at], found[i] = i, at
	}
	return found
}

// find returns the index of the only one of tags that is words, or else that begins or ends with them.
func find(tags [][]string, words []string) (at int, ok bool) {
	best := 0
	for i, tag := range tags {
		n, rank := len(tag)-len(words), 0
		switch {
		case n < 0 || len(words) == 0:
			continue
		case n == 0 && slices.Equal(tag, words):
			rank = 2
		case slices.Equal(tag[n:], words) || slices.Equal(tag[:len(words)], words):
			rank = 1
		default:
			continue
		}
		if rank > best {
			at, ok, best = i, true, rank
		} else if rank == best {
			ok = false
		}
	}
	return at, ok
}

// split splits names into words in lower case, without those with which all names begin or end.
func split(names []string) [][]string {
	all := make([][]string, len(names))
	for i, n := range names {
		all[i] = strings.FieldsFunc(strings.ToLower(n), func(r rune) bool { return r == '_' })
	}
	if len(all) < 2 {
		return all
	}
	for common(all, func(w []string) string { return w[0] }) {
		for i := range all {
			all[i] = all[i][1:]
		}
	}
	for common(all, func(w []string) string { return w[len(w)-1] }) {
		for i := range all {
			all[i] = all[i][:len(all[i])-1]
		}
	}
	return all
}

// common reports whether all have more than one word, and the one that pick returns is the same.
func common(all [][]string, pick func([]string) string) bool {
	for _, w := range all {
		if len(w) < 2 || pick(w) != pick(all[0]) {
			return false
		}
	}
	return true
}
