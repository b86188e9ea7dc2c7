// Package near finds the names that a mistyped name may stand for.
package near

import (
	"slices"
	"strings"
)

// Bounds of a hint: how many names it lists, and how many bytes a name has. BTF of strangers can have names of megabytes.
const (
	most    = 5
	longest = 256
)

// Names returns the names among known that are nearest to name, the nearest first, at most 5. Names of
// another length or of other letters are left out, and those of more than 256 bytes. name itself is the nearest.
func Names(name string, known []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	for _, n := range known {
		if n == "" || max(len(n), len(name)) > longest {
			continue
		}
		inside := len(name) > 2 && strings.Contains(n, name)
		limit := 1 + len(name)/4
		if !inside && max(len(n)-len(name), len(name)-len(n)) > limit {
			continue // the distance is at least the difference of the lengths
		}
		d := distance(n, name)
		if strings.EqualFold(n, name) {
			d = min(d, 1)
		}
		if inside || d <= limit && alike(d, max(len(n), len(name))) {
			near = append(near, candidate{n, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var names []string
	for _, c := range slices.Compact(near) {
		if names = append(names, c.name); len(names) == most {
			break
		}
	}
	return names
}

// Hint returns " (near: a, b)" with the result of [Names], or "" if it is empty.
func Hint(name string, known []string) string {
	return List(Names(name, known))
}

// List returns " (near: a, b)" with the first 5 of names, or "" if there are none.
func List(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (near: " + strings.Join(names[:min(len(names), most)], ", ") + ")"
}

// alike reports whether words of at most length bytes, at a distance, have enough in common: two mistakes in a word of four
// letters make another word.
func alike(distance, length int) bool {
	return distance < length && (distance == 1 || 2*distance < length)
}

// distance returns the optimal string alignment distance of a and b in bytes: a byte more, less or other costs 1, and so do
// two neighbours that are swapped.
func distance(a, b string) int {
	rows := [3][]int{} // distances of a[:i-2], a[:i-1] and a[:i] to each b[:j]
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[2] {
		rows[2][j] = j
	}
	for i := 1; i <= len(a); i++ {
		rows[0], rows[1], rows[2] = rows[1], rows[2], rows[0]
		rows[2][0] = i
		for j := 1; j <= len(b); j++ {
			if a[i-1] == b[j-1] {
				rows[2][j] = rows[1][j-1]
				continue
			}
			d := 1 + min(rows[1][j-1], rows[1][j], rows[2][j-1])
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, 1+rows[0][j-2])
			}
			rows[2][j] = d
		}
	}
	return rows[2][len(b)]
}
