// Package reconstruct finds the layout of records that no BTF describes: from the instructions that write them
// and the source lines of these, which name the members.
package reconstruct

import (
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// Bounds of the work.
const (
	maxFields = 1024    // writes and passes of a site that are read
	maxRecord = 1 << 24 // bytes of a record that are described
	maxLike   = 32      // sites that complete each other
	maxKinds  = 64      // sites of which it is found out whether they rival others
	maxNamed  = 4096    // writes of these: each is compared with those beside it
	maxGroups = 64      // that a site is compared with
)

// Layout is the layout of the records of a site.
type Layout struct {
	// Type describes the record, or its first bytes if its size is not constant.
	Type *btf.Struct
	// Meanings is what helpers say of the fields, by offset.
	Meanings map[int]decode.Meaning
	// Written is how many places the sites write with something else than zeros, and Named how many of these have names.
	Written, Named int
}

// All returns the layouts of the records of sites, as far as the instructions that write them and their source
// lines tell them; nil for a site of which no line names a field and no helper tells what it writes. Sites that fill
// the same struct complete each other, and have the same Layout.
//
// A field is left out, and its bytes are a member such as at_12, where its name or size is not sure: where
// lines contradict each other, and where the compiler can have merged the stores of several fields.
func All(sites []*recordflow.Site) []*Layout {
	n := &namer{lines: map[string]*srcline.Line{}}
	all := make([]*evidence, len(sites))
	for i, s := range sites {
		if e := n.evidenceOf(s); len(e.writes) > 0 || e.hasTexts() || e.hasHelped() {
			all[i] = e
		}
	}
	of := groupsOf(all)
	layouts := make([]*Layout, len(sites))
	for i, e := range all {
		if e != nil {
			layouts[i] = of[e].layout()
		}
	}
	return layouts
}

// layout returns the layout of the records of a site, or nil if it has no members.
func (l *layout) layout(e *evidence) *Layout {
	if len(l.items) == 0 {
		l.addHelped()
	}
	size := l.end()
	if e.site.Min == e.site.Max && e.site.Max >= size && e.site.Max <= maxRecord {
		size = e.site.Max
	}
	l.addArrays(size)
	l.stretch(size)
	written, named := l.coverage()
	if e.site.Min == e.site.Max {
		l.addTextSpans(size)
	}
	if len(l.items) == 0 {
		return nil
	}
	t := &btf.Struct{Name: e.typ, Size: uint32(size)}
	if t.Name == "" {
		t.Name = "record"
	}
	t.Members = l.members(0, size)
	return &Layout{t, l.meanings(), written, named}
}

// coverage returns how many places the sites write, and how many of these are members.
func (l *layout) coverage() (written, named int) {
	type place struct{ off, size int64 }
	seen := map[place]bool{}
	for _, e := range l.sites {
		for _, w := range e.site.Writes {
			p := place{w.Off, w.Size}
			if w.Off < 0 || w.Size <= 0 || w.Constant && w.Const == 0 || seen[p] {
				continue
			}
			seen[p] = true
			written++
			if l.covers(w.Off, w.Off+w.Size) {
				named++
			}
		}
	}
	return written, named
}

// covers reports whether all bytes from lo to hi are those of members.
func (l *layout) covers(lo, hi int64) bool {
	for _, i := range l.items { // by offset
		if i.off <= lo && lo < i.end() {
			lo = i.end()
		}
	}
	return lo >= hi
}

// evidence is what the lines of a site say about its records.
type evidence struct {
	site   *recordflow.Site
	typ    string // the name of the struct; "" if no line has it
	writes []namedWrite
	at     map[string]int64      // the offset of each path that has one
	arrays map[string]namedWrite // writes to elements of arrays at an unknown offset, by the array's name

	only  map[int64]*recordflow.Write // what constants returns
	first map[int64]*namedWrite       // what firsts returns
}

// namedWrite is a write with the path of the member that its line names.
type namedWrite struct {
	*recordflow.Write
	path []srcline.Step
	base string // the variable in the line
	// assign is the assignment in the line that stores a number; nil for another write.
	assign *srcline.Assign
	// copied reports that the write can be a part of a copy: of the value of an assignment if inValue is set, or by
	// memcpy.
	copied, inValue bool
	copies          int64 // the size of the copy that its line gives; 0 if it is not known
	text            bool  // it writes a string
	// sure reports that the variable in the line is known to be the record.
	sure bool
	// follows reports that the write before has the same line: this one is a part of a copy, or code that the compiler
	// merged from several lines and gave none.
	follows bool
	// doubtful reports that the compiler made the store of several, and that the line can be that of any.
	doubtful bool
	// bits reports that the store is that of several bitfields.
	bits bool
}

// key is a path with all indexes alike.
func key(path []srcline.Step) string {
	if len(path) == 1 && path[0].Member != "" {
		return path[0].Member
	}
	p := srcline.Place{Path: make([]srcline.Step, len(path))}
	for i, s := range path {
		if p.Path[i] = s; s.Member == "" {
			p.Path[i].Index = -1
		}
	}
	return p.String()
}
