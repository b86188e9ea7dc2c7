package reconstruct

import (
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// Samples returns the layout of the samples of size bytes that a program takes out of a user ring, as far as the source
// lines of its loads name members; nil if none does.
func Samples(d *recordflow.Drain, size int64) *Layout {
	if size > maxRecord {
		return nil
	}
	n := &namer{lines: map[string]*srcline.Line{}}
	e := &evidence{site: &recordflow.Site{Min: size, Max: size}}
	vars := n.sampleVariables(d)
	for i := range d.Reads[:min(len(d.Reads), maxFields)] {
		r := d.Reads[i]
		if r.By != "" || r.Off < 0 || r.Size <= 0 || r.Off+r.Size > size {
			continue
		}
		place, ok := srcline.ReadAt(r.Line.Text, r.Line.Column)
		if !ok {
			continue
		}
		r.By = load
		if found, ok := n.named(&namedWrite{Write: &r}, &place, vars); ok {
			e.writes = append(e.writes, found)
		}
	}
	for _, p := range d.Passes[:min(len(d.Passes), maxFields)] {
		arg := n.argument(p)
		if arg == nil || len(arg.Path) == 0 || p.Off < 0 || p.Off >= size {
			continue
		}
		// A call reads a member whose length is not known.
		if found, ok := n.named(&namedWrite{Write: &recordflow.Write{Off: p.Off, Func: p.Func, Line: p.Line, By: load}}, arg, vars); ok {
			e.writes = append(e.writes, found)
		}
	}
	if len(e.writes) == 0 {
		return nil
	}
	for _, v := range vars {
		if v.typ != "" {
			e.typ = v.typ
		}
	}
	return layoutOf([]*evidence{e}).layout(e)
}

// load stands for [recordflow.Write.By] of a load. A program can load a part of a member only, so the longest counts.
const load = "a load"

// sampleVariables returns the variables that lines show to be samples: what bpf_dynptr_data returns and what
// bpf_dynptr_read writes.
func (n *namer) sampleVariables(d *recordflow.Drain) (all []variable) {
	for _, r := range d.Reads[:min(len(d.Reads), maxFields)] {
		l := n.line(r.Line)
		c := callIn(l, r.Line, r.By)
		if r.By == "" || r.Off != 0 || c == nil {
			continue
		}
		if a := l.Result(c); a != nil && len(a.Place.Path) == 0 && !a.Place.Deref && r.By == "bpf_dynptr_data" {
			all = append(all, variable{name: a.Place.Var, typ: a.Declared.Name})
		} else if len(c.Args) > 0 && c.Args[0].Addr && len(c.Args[0].Place.Path) == 0 && r.By == "bpf_dynptr_read" {
			all = append(all, variable{name: c.Args[0].Place.Var})
		}
	}
	return all
}
