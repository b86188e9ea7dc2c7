package objects

import (
	"cmp"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/internal/rawbtf"
)

// Names are what the kernel knows of a ring and of the programs that use it. It cuts names to 15 bytes.
type Names struct {
	Ring     string
	Maps     []string // the other maps of the programs
	Programs []string
	// Lines are source lines of the programs, as the kernel keeps them, at most [MaxLines] of which are compared.
	Lines []string
}

// MaxLines bounds the source lines that are compared with those of an object.
const MaxLines = 64

// Fit says how much of [Names] an object has.
type Fit struct {
	Ring           bool
	Maps, Programs int // how many of them
	Lines, Strange int // how many source lines it has, and how many it lacks
}

// Same reports that the object is that of a program: it has its name and all of its source lines. Names
// alone are no proof, since objects of other programs often have the same.
func (f Fit) Same() bool { return f.Programs > 0 && f.Lines > 0 && f.Strange == 0 }

// Exact reports that the object is that of a program and has the ring.
func (f Fit) Exact() bool { return f.Ring && f.Same() }

// rank is 3 for an exact fit, 2 if the names of the ring and a program fit, 1 if only the ring's does, 0 otherwise.
func (f Fit) rank() int {
	switch {
	case f.Exact():
		return 3
	case f.Ring && f.Programs > 0:
		return 2
	case f.Ring:
		return 1
	}
	return 0
}

// compare orders fits, the better first.
func (f Fit) compare(other Fit) int {
	return cmp.Or(cmp.Compare(other.rank(), f.rank()), cmp.Compare(f.Strange, other.Strange),
		cmp.Compare(other.Programs, f.Programs), cmp.Compare(other.Maps, f.Maps))
}

// Fits compares the object with what the kernel knows. It parses nothing.
func (o *Object) Fits(n Names) Fit {
	count := func(have, want []string) (found int) {
		for _, w := range want {
			if slices.ContainsFunc(have, func(h string) bool { return kernelName(h) == kernelName(w) }) {
				found++
			}
		}
		return found
	}
	f := Fit{Ring: count(o.maps, []string{n.Ring}) > 0, Maps: count(o.maps, n.Maps), Programs: count(o.Programs, n.Programs)}
	if f.Ring || f.Programs > 0 {
		lines := n.Lines[:min(len(n.Lines), MaxLines)]
		f.Strange = o.strange(lines)
		f.Lines = len(lines) - f.Strange
	}
	return f
}

// strange returns how many of the lines are not among the strings of the object's BTF.
func (o *Object) strange(lines []string) (n int) {
	if len(lines) == 0 {
		return 0
	}
	has := o.strings()
	for _, line := range lines {
		if !has[line] {
			n++
		}
	}
	return n
}

// readStrings returns the strings of the object's BTF, at most 131072 of them. Source lines are among them.
func (o *Object) readStrings() map[string]bool {
	const most = 1 << 17
	raw, err := o.elf.Content(".BTF", maxObjectBTF)
	if err != nil {
		return nil
	}
	outline, err := rawbtf.Read(raw)
	if err != nil {
		return nil
	}
	found := map[string]bool{}
	for s := range strings.SplitSeq(string(outline.Strings()), "\x00") {
		if len(found) == most {
			break
		}
		found[s] = true
	}
	return found
}

// best returns the objects that have the ring or one of the programs, the best first. If one is exact, or has
// the ring, it leaves out those that are not or do not.
func best(all []*Object, n Names) []*Object {
	all = slices.DeleteFunc(all, func(o *Object) bool { f := o.Fits(n); return !f.Ring && f.Programs == 0 })
	slices.SortStableFunc(all, func(a, b *Object) int { return a.Fits(n).compare(b.Fits(n)) })
	for i, o := range all {
		if o.Fits(n).rank() < all[0].Fits(n).rank() {
			return all[:i]
		}
	}
	return all
}
