package reconstruct

import (
	"slices"
	"strings"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// namer reads which member of a record the source line of a write names.
type namer struct {
	lines map[string]*srcline.Line
}

// variable is a variable that is a record or points to one.
type variable struct {
	name string
	fn   string         // the function that has it; "" if that is not known
	path []srcline.Step // the member of the variable that is the record
	into []srcline.Step // the member of the record to which the variable points
	off  int64          // where that is in the record
	typ  string         // the name of its type; "" if its line has none
}

func (n *namer) line(l recordflow.Line) *srcline.Line {
	parsed := n.lines[l.Text]
	if parsed == nil {
		parsed = srcline.Parse(l.Text)
		n.lines[l.Text] = parsed
	}
	return parsed
}

// evidenceOf reads the lines of a site.
func (n *namer) evidenceOf(s *recordflow.Site) *evidence {
	vars := n.variables(s)
	e := &evidence{site: s, typ: n.typeName(s, vars), at: map[string]int64{}}
	cleared, lines := clearedAtOnce(s.Writes), linesOf(s)
	moves := n.moves(s)
	var twins, joined, described []namedWrite
	for i := range s.Writes[:min(len(s.Writes), maxFields)] {
		w := &s.Writes[i]
		if w.Off < 0 {
			n.noteArray(e, w, vars)
			continue
		}
		if w.Size < 0 || w.Off > maxRecord || w.Size > maxRecord || s.Max >= 0 && w.Off+max(w.Size, 1) > s.Max || w.Moved && moves[w.Off].named {
			continue
		}
		after := func(l recordflow.Line) bool { return i > 0 && s.Writes[i-1].Line == l && s.Writes[i-1].Func == w.Func }
		if found, ok := n.joined(w, vars, after(w.Line)); ok {
			joined = append(joined, found)
		} else if found, ok := n.name(w, vars); ok {
			if w.Moved {
				moves[w.Off].apply(&found)
			}
			found.halve(s.Writes)
			found.follows = after(found.Write.Line)
			apart := (isSplat(w) || !w.Constant && !halves[w.From.Helper]) && lines.enclose(w.Line)
			several := found.doubtful && !apart || cleared[w.Line] && found.index() == none
			found.doubtful = found.bits || several && !choosesConstant(s.Writes, i)
			e.writes = append(e.writes, found)
			if twin, ok := found.twin(w); ok {
				twins = append(twins, twin)
			}
		} else if found, ok := n.described(w); ok {
			described = append(described, found)
		}
	}
	e.writes = append(e.writes, slices.DeleteFunc(joined, func(w namedWrite) bool { return !e.believes(w) })...)
	for _, t := range twins {
		if !slices.ContainsFunc(e.writes, func(w namedWrite) bool { return key(w.path) == key(t.path) }) {
			e.writes = append(e.writes, t)
		}
	}
	for _, p := range s.Passes[:min(len(s.Passes), maxFields)] {
		if w := e.unnamedAt(p.Off); w != nil {
			if found, ok := n.passed(p, w, vars); ok {
				e.writes = append(e.writes, found)
			}
		}
	}
	e.addDescribed(described)
	for _, w := range e.writes {
		e.locate(&w)
	}
	return e
}

// locate notes the offset of the member that a write names. The parts of a copy are in any order.
func (e *evidence) locate(w *namedWrite) {
	k := key(w.path)
	off, ok := e.at[k]
	switch {
	case w.index() != none || w.doubtful || w.inValue:
	case w.copied && (!ok || w.Off < off), !w.copied && !w.follows:
		e.at[k] = w.Off
	}
}

// choosesConstant reports whether the instruction of a write stores one of several constants: the compiler does not join such
// stores.
func choosesConstant(writes []recordflow.Write, i int) bool {
	other := func(n int) bool {
		return n >= 0 && n < len(writes) && writes[n].Ins == writes[i].Ins && writes[n].Constant && writes[n].Const != writes[i].Const
	}
	return writes[i].Constant && (other(i-1) || other(i+1))
}

// unnamedAt returns a write at off if no line names any there.
func (e *evidence) unnamedAt(off int64) (found *recordflow.Write) {
	for i := range e.site.Writes {
		if w := &e.site.Writes[i]; w.Off == off && off > 0 && !(w.Constant && w.Const == 0) {
			found = w
		}
	}
	if slices.ContainsFunc(e.writes, func(w namedWrite) bool { return w.Off <= off && off < w.Off+w.length() }) {
		return nil
	}
	return found
}

// passed returns the write with the name of the member whose address a call gets.
func (n *namer) passed(p recordflow.Pass, w *recordflow.Write, vars []variable) (namedWrite, bool) {
	arg := n.argument(p)
	if arg == nil {
		return namedWrite{}, false
	}
	found, ok := n.named(&namedWrite{Write: w}, arg, vars)
	return found, ok && found.sure
}

// variables returns the variables that lines show to be the records of s.
func (n *namer) variables(s *recordflow.Site) []variable {
	var all []variable
	l := n.line(s.Line)
	if c := callIn(l, s.Line, s.Call); c != nil {
		if a := l.Result(c); a != nil && len(a.Place.Path) == 0 && !a.Place.Deref && s.Call != recordflow.Output {
			all = append(all, variable{name: a.Place.Var, fn: s.Func})
		}
		if s.Call == recordflow.Output && len(c.Args) > 1 && c.Args[1].Named {
			p := c.Args[1].Place
			// The record is the array "e->event", or what the pointer points to.
			all = append(all, variable{name: p.Var, fn: s.Func, path: p.Path}, variable{name: p.String(), fn: s.Func})
		}
	}
	passes := s.Passes[:min(len(s.Passes), maxFields)]
	for _, p := range passes {
		if arg := n.argument(p); p.Off == 0 && arg != nil && len(arg.Path) == 0 {
			all = append(all, variable{name: arg.Var})
		}
	}
	for _, p := range passes {
		if p.Param == nil || p.Param.Name == "" || p.Off < 0 {
			continue
		}
		v := variable{name: p.Param.Name, fn: p.Func, off: p.Off}
		if arg := n.argument(p); arg != nil && slices.ContainsFunc(all, func(v variable) bool { return v.name == arg.Var }) {
			v.into = arg.Path
		}
		if p.Off == 0 || v.into != nil {
			all = append(all, v)
		}
	}
	return all
}

// argument returns what the line of a call passes as the argument, or nil.
func (n *namer) argument(p recordflow.Pass) *srcline.Place {
	c := callIn(n.line(p.Line), p.Line, p.Func)
	if c == nil || p.Arg >= len(c.Args) || !c.Args[p.Arg].Named {
		return nil
	}
	return &c.Args[p.Arg].Place
}

// match returns the variable that a line means by name where it writes at off.
func match(vars []variable, name, fn string, off int64) *variable {
	var found *variable
	for i := range vars {
		v := &vars[i]
		if v.name == name && (v.fn == "" || v.fn == fn || fn == "") && v.off <= off && (found == nil || v.off > found.off) {
			found = v
		}
	}
	return found
}

// callIn returns the call of the function in the line: the one at the line's column, or the only one.
func callIn(l *srcline.Line, at recordflow.Line, name string) *srcline.Call {
	if c := l.CallAt(at.Column); c != nil && c.Name == name {
		return c
	}
	return l.Call(name)
}

// typeName returns the name that the line of a site, whose records are the variables, gives to the type of its records.
func (n *namer) typeName(s *recordflow.Site, vars []variable) string {
	l := n.line(s.Line)
	if c := callIn(l, s.Line, s.Call); c != nil {
		if a := l.Result(c); a != nil && a.Declared.Name != "" && a.Declared.Pointer && !srcline.IsScalar(a.Declared.Name) {
			return a.Declared.Name
		}
	}
	for _, t := range l.Types {
		if t.Tag || !slices.ContainsFunc(vars, func(v variable) bool { return v.name == t.Name }) {
			return t.Name
		}
	}
	return ""
}

// name returns the write with the path of the member that its line names.
func (n *namer) name(w *recordflow.Write, vars []variable) (namedWrite, bool) {
	l := n.line(w.Line)
	if named, ok := n.initialised(w, l, vars); ok {
		return named, true
	}
	found := namedWrite{Write: w}
	var place *srcline.Place
	if found.assign = l.AssignAt(w.Line.Column); found.assign != nil && w.By == "" {
		place = &found.assign.Place
	} else if place, found.text = n.destination(w, l, vars); place != nil {
		found.assign, found.copied, found.copies = nil, w.By == "", copySize(l.CallAt(w.Line.Column))
	} else if a := l.ValueAt(w.Line.Column); a != nil && w.By == "" {
		// The compiler gives the copy of a struct the column of its source.
		place, found.assign, found.copied, found.inValue = &a.Place, nil, true, true
	}
	if place != nil {
		if named, ok := n.named(&found, place, vars); ok {
			named.split()
			return named, true
		}
	}
	return n.address(w, l, vars)
}

// named gives the write the path of the place in the record.
func (n *namer) named(w *namedWrite, place *srcline.Place, vars []variable) (namedWrite, bool) {
	w.path, w.base = place.Path, place.Var
	if v := match(vars, place.Var, w.Func, w.Off); v != nil {
		if len(v.path) > len(place.Path) || !slices.Equal(v.path, place.Path[:len(v.path)]) {
			return namedWrite{}, false
		}
		w.path, w.sure = place.Path[len(v.path):], true
		switch {
		case len(v.into) > 0:
			w.path = slices.Concat(v.into, w.path)
		case v.off == 0 && len(v.path) == 0 && len(w.path) > 0 && w.path[0].Member == "" && w.Size > 1:
			w.path = slices.Concat([]srcline.Step{{Member: v.name}}, w.path) // the record is an array of numbers
		}
	}
	indexes := 0
	for _, s := range w.path {
		if s.Member == "" {
			indexes++
		}
	}
	// An element of an array of arrays has no name here.
	if len(w.path) == 0 || w.path[0].Member == "" || indexes > 1 {
		return namedWrite{}, false
	}
	return *w, true
}

// destination returns the place that the call in the line writes, or nil, and whether it writes a string.
func (n *namer) destination(w *recordflow.Write, l *srcline.Line, vars []variable) (place *srcline.Place, text bool) {
	c := l.CallAt(w.Line.Column)
	if c == nil && w.By != "" {
		c = l.Call(w.By)
	}
	if c == nil {
		return nil, false
	}
	if strings.Contains(c.Name, "memset") {
		return nil, false // the compiler joins it with others
	}
	if n, ok := destination(c.Name); ok {
		if n < len(c.Args) && c.Args[n].Named {
			literal := n+1 < len(c.Args) && strings.HasPrefix(c.Args[n+1].Text, `"`)
			return &c.Args[n].Place, literal || isText(w.By)
		}
		return nil, false
	}
	// A macro of the program: only a member of the record itself can be what it writes.
	var found *srcline.Place
	for i := range c.Args {
		a := &c.Args[i]
		if !a.Named || len(a.Place.Path) == 0 || !slices.ContainsFunc(vars, func(v variable) bool { return v.name == a.Place.Var }) {
			continue
		}
		if found != nil {
			return nil, false
		}
		found = &a.Place
	}
	return found, false
}

// maxCall is how many lines of a call are believed.
const maxCall = 16

// address returns the write of a helper with the path of the member whose address an instruction computed for it, if that
// has another line than the call, l: the call goes on in that line, or is in a function that is inlined and got the
// address. Of the latter, only a member of a variable that is known to be the record is believed.
func (n *namer) address(w *recordflow.Write, l *srcline.Line, vars []variable) (namedWrite, bool) {
	from := w.Computed
	if w.By == "" || from == w.Line {
		return namedWrite{}, false
	}
	place, ok := srcline.ReadAt(from.Text, from.Column)
	if !ok {
		return namedWrite{}, false
	}
	found := namedWrite{Write: w, text: isText(w.By)}
	named, ok := n.named(&found, &place, vars)
	after := from.Number - w.Line.Number
	goesOn := from.File == w.Line.File && after > 0 && after <= maxCall && l.Open()
	return named, ok && (named.sure || goesOn)
}

// destination returns the number of the argument that a function or macro writes to. Programs name their macros like the
// function: bpf_memcpy.
func destination(name string) (arg int, ok bool) {
	if n, ok := destinations[name]; ok {
		return n, true
	}
	for _, part := range []string{"memcpy", "probe_read", "core_read", "get_current_comm", "copy_from_user"} {
		if strings.Contains(strings.ToLower(name), part) {
			return 0, true
		}
	}
	return 0, false
}

// destinations are the numbers of the arguments that functions and macros write to.
var destinations = map[string]int{
	"memcpy": 0, "memmove": 0, "__builtin_memcpy": 0, "__builtin_memmove": 0, "__builtin_memcpy_inline": 0,
	"BPF_CORE_READ_INTO": 0, "BPF_CORE_READ_STR_INTO": 0, "BPF_CORE_READ_USER_INTO": 0, "BPF_CORE_READ_USER_STR_INTO": 0,
	"BPF_PROBE_READ_INTO": 0, "BPF_PROBE_READ_STR_INTO": 0, "BPF_PROBE_READ_USER_INTO": 0, "BPF_PROBE_READ_USER_STR_INTO": 0,
	"bpf_core_read": 0, "bpf_core_read_str": 0, "bpf_core_read_user": 0, "bpf_core_read_user_str": 0,
	"bpf_probe_read": 0, "bpf_probe_read_str": 0,
	"bpf_probe_read_kernel": 0, "bpf_probe_read_kernel_str": 0, "bpf_probe_read_user": 0, "bpf_probe_read_user_str": 0,
	"bpf_copy_from_user": 0, "bpf_copy_from_user_task": 0, "bpf_copy_from_user_str": 0, "bpf_get_current_comm": 0,
	"bpf_snprintf": 0, "bpf_get_stack": 1, "bpf_get_task_stack": 1, "bpf_d_path": 1, "bpf_path_d_path": 1,
	"bpf_skb_load_bytes": 2, "bpf_skb_load_bytes_relative": 2, "bpf_xdp_load_bytes": 2, "bpf_dynptr_read": 0,
	"bpf_get_ns_current_pid_tgid": 2, "bpf_perf_event_read_value": 2, "bpf_perf_prog_read_value": 1, "bpf_strncpy": 0,
	"bpf_fib_lookup": 1, "bpf_snprintf_btf": 0, "bpf_sysctl_get_name": 1, "bpf_get_func_arg": 2, "bpf_get_func_ret": 1,
}

// isText reports whether the helper writes a string.
func isText(helper string) bool {
	return strings.HasSuffix(helper, "_str") || helper == "bpf_get_current_comm" || helper == "bpf_snprintf" ||
		strings.HasSuffix(helper, "d_path") || helper == "bpf_snprintf_btf" || helper == "bpf_sysctl_get_name"
}
