package reconstruct

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// site returns a site that reserves a record of size bytes for the variable e.
func site(size int64, writes ...recordflow.Write) *recordflow.Site {
	const line = "struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);"
	for i := range writes {
		writes[i].Ins = 10 + i
	}
	return &recordflow.Site{
		Call: recordflow.Reserve, Line: recordflow.Line{Text: line, Column: strings.Index(line, "bpf_") + 1},
		Min: size, Max: size, Writes: writes,
	}
}

// store returns a store that the first assignment of the line makes.
func store(off, size int64, text string) recordflow.Write {
	w := recordflow.Write{Off: off, Size: size, Max: size, Line: recordflow.Line{Text: text}}
	if l := srcline.Parse(text); len(l.Assigns) > 0 {
		w.Line.Column = l.Assigns[0].Column
	} else if len(l.Calls) > 0 {
		w.Line.Column = l.Calls[0].Column
	}
	return w
}

// copyOf returns a store that copies a part of the value of the line's assignment.
func copyOf(off, size int64, text string) recordflow.Write {
	w := store(off, size, text)
	w.Line.Column = srcline.Parse(text).Assigns[0].Start + 1
	return w
}

func constantStore(off, size int64, value uint64, text string) recordflow.Write {
	w := store(off, size, text)
	w.Const, w.Constant = value, true
	return w
}

// call returns a write by the helper that the first call of the line names.
func call(off, size int64, text string) recordflow.Write {
	l := srcline.Parse(text)
	w := recordflow.Write{Off: off, Size: size, Max: size, By: l.Calls[0].Name, Line: recordflow.Line{Text: text, Column: l.Calls[0].Column}}
	if strings.HasPrefix(w.By, "BPF_CORE_READ_STR") {
		w.By = "bpf_probe_read_kernel_str"
	} else if strings.HasPrefix(w.By, "BPF_CORE_READ") {
		w.By = "bpf_probe_read_kernel"
	}
	return w
}

// layoutOfOne returns the layout that All finds for the first site.
func layoutOfOne(sites ...*recordflow.Site) *Layout { return All(sites)[0] }

// show returns the members as in "pid u32@0, comm char[16]@8".
func show(members []btf.Member) string {
	var all []string
	for _, m := range members {
		all = append(all, fmt.Sprintf("%s@%d", strings.TrimSpace(m.Name+" "+typeName(m.Type)), m.Offset/8))
	}
	return strings.Join(all, ", ")
}

func typeName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Struct:
		return "{" + show(t.Members) + "}"
	case *btf.Union:
		return "union{" + show(t.Members) + "}"
	case *btf.Array:
		return fmt.Sprintf("%s[%d]", typeName(t.Type), t.Nelems)
	}
	return t.TypeName()
}

func TestMembers(t *testing.T) {
	for _, tt := range memberCases {
		l := layoutOfOne(site(tt.size, tt.writes...))
		if l == nil {
			t.Errorf("%s: not reconstructed", tt.rule)
			continue
		}
		got := l.Type
		if diff := cmp.Diff(tt.want, show(got.Members)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.rule, diff)
		}
		if got.Name != "event" || int64(got.Size) != tt.size {
			t.Errorf("%s: %s of %d bytes", tt.rule, got.Name, got.Size)
		}
		if _, err := decode.New(got); err != nil {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
}

func TestFunctionsFillMembers(t *testing.T) {
	pass := func(off int64, text string) recordflow.Pass {
		return recordflow.Pass{Func: "fill", Param: &btf.FuncParam{Name: "p"}, Off: off, Line: recordflow.Line{Text: text}}
	}
	in := func(w recordflow.Write) recordflow.Write {
		w.Func = "fill"
		return w
	}
	s := site(24, store(0, 8, "e->ns = x;"),
		in(store(8, 4, "p->addr = x;")), in(store(12, 2, "p->port = x;")), in(store(16, 4, "p->addr = x;")), in(store(20, 2, "p->port = x;")))
	s.Passes = []recordflow.Pass{pass(8, "fill(&e->src, x);"), pass(16, "fill(&e->dst, x);")}
	want := "ns u64@0, src {addr u32@0, port u16@4}@8, dst {addr u32@0, port u16@4}@16"
	if diff := cmp.Diff(want, show(layoutOfOne(s).Type.Members)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOneOfSeveralConstantsIsNotJoined(t *testing.T) {
	s := site(16, constantStore(0, 8, 0, "e->a = x ? A : B;"), constantStore(0, 8, 7, "e->a = x ? A : B;"), constantStore(8, 8, 0, "e->b = 0;"))
	s.Writes[1].Ins = s.Writes[0].Ins
	if diff := cmp.Diff("a u64@0, at_8 u8[8]@8", show(layoutOfOne(s).Type.Members)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOrderOfTheStoresOfACopy(t *testing.T) {
	const line = "__builtin_memcpy(&e->conn, x, sizeof(e->conn));"
	a := site(32, store(0, 8, "e->ns = x;"), store(16, 8, line), store(8, 8, line), store(24, 4, "e->a = x;"))
	b := site(32, store(0, 8, "e->ns = x;"), store(8, 8, line), store(16, 8, line), store(28, 4, "e->b = x;"))
	want := "ns u64@0, conn u8[16]@8, a u32@24, b u32@28"
	for _, l := range All([]*recordflow.Site{a, b}) {
		if diff := cmp.Diff(want, show(l.Type.Members)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestCoverage(t *testing.T) {
	s := site(24, store(0, 4, "e->a = x;"), store(0, 4, "e->a = y;"), store(4, 4, "e->b = x;"), store(0, 8, "*e = z;"), store(8, 8, "f(x);"),
		constantStore(16, 8, 0, "*e = z;"), recordflow.Write{Off: -1, Size: 1})
	if l := layoutOfOne(s); l.Written != 4 || l.Named != 3 {
		t.Errorf("%d of %d places have names, want 3 of 4", l.Named, l.Written)
	}
}

func TestAZeroBetweenOtherLinesIsNotJoined(t *testing.T) {
	s := site(24, store(0, 8, "e->a = x;"), constantStore(8, 8, 0, "e->b = 0;"), store(16, 8, "e->c = x;"))
	for i := range s.Writes {
		s.Writes[i].Line.Number = 10 + i
	}
	if diff := cmp.Diff("a u64@0, b u64@8, c u64@16", show(layoutOfOne(s).Type.Members)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	c := site(24, store(0, 8, "e->a = x;"), store(8, 8, "e->pid = o->pid;"), store(16, 8, "e->c = x;"))
	for i := range c.Writes {
		c.Writes[i].Line.Number = 10 + i
	}
	if diff := cmp.Diff("a u64@0, pid u64@8, c u64@16", show(layoutOfOne(c).Type.Members)); diff != "" {
		t.Errorf("of a copy: (-want +got)\n%s", diff)
	}
	s.Writes[2].Line.Number++
	if diff := cmp.Diff("a u64@0, at_8 u8[8]@8, c u64@16", show(layoutOfOne(s).Type.Members)); diff != "" {
		t.Errorf("with a line that has no instruction: (-want +got)\n%s", diff)
	}
}

func TestTheTailOfALongerRecordHasNoNames(t *testing.T) {
	s := site(64, store(0, 4, "v->len = x;"), store(4, 4, "v->kind = x;"), store(8, 4, "f->type = x;"))
	s.Min = 8
	if diff := cmp.Diff("len u32@0, kind u32@4", show(layoutOfOne(s).Type.Members)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestHalvesOfAHelpersResult(t *testing.T) {
	from := func(helper, text string) *recordflow.Site {
		w := store(0, 8, text)
		name, rotated := strings.CutSuffix(helper, " rotated")
		if w.From = (recordflow.Origin{Helper: name, Width: 64}); rotated {
			w.From.Shift = 32
		}
		return site(8, w)
	}
	for _, tt := range []struct{ helper, text, want string }{
		{"bpf_get_current_pid_tgid", "e->tgid = id >> 32;", "pid u32@0, tgid u32@4"},
		{"bpf_get_current_pid_tgid", "e->pid = (u32)id;", "pid u32@0, tgid u32@4"},
		{"bpf_get_current_pid_tgid", "e->pid = id >> 32;", "at_0 u8[4]@0, pid u32@4"},
		{"bpf_get_current_pid_tgid rotated", "p->tid = id;", "pid u32@0, tid u32@4"},
		{"bpf_get_current_pid_tgid rotated", "p->tgid = id >> 32;", "tgid u32@0, pid u32@4"},
		{"bpf_get_current_pid_tgid rotated", "p->id = id;", "id u64@0"},
		{"bpf_get_current_uid_gid", "e->c.gid = id >> 32;", "c {uid u32@0, gid u32@4}@0"},
		{"bpf_get_current_pid_tgid", "e->id = id;", "id u64@0"},
		{"bpf_get_current_pid_tgid", "e->pid_tgid = id;", "pid_tgid u64@0"},
		{"bpf_get_current_pid_tgid", "e->x = bpf_get_current_pid_tgid();", "x u64@0"},
		{"", "e->ns = x;", "ns u64@0"},
	} {
		l := layoutOfOne(from(tt.helper, tt.text))
		if l == nil {
			t.Errorf("%s: not reconstructed", tt.text)
		} else if diff := cmp.Diff(tt.want, show(l.Type.Members)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.text, diff)
		}
	}
	if l := layoutOfOne(from("", "e->pid = x->pid;")); l != nil {
		t.Errorf("of a copy: %s", show(l.Type.Members))
	}
}

func TestNothingIsReconstructedWithoutNames(t *testing.T) {
	for rule, w := range map[string]recordflow.Write{
		"no line":                        {Off: 0, Size: 4},
		"another column":                 {Off: 0, Size: 4, Line: recordflow.Line{Text: "e->x = 1;", Column: 2}},
		"unknown offset":                 {Off: -1, Size: 4, Line: recordflow.Line{Text: "e->x = 1;", Column: 6}},
		"after the end":                  store(16, 4, "e->x = 1;"),
		"the whole record":               store(0, 8, "*e = x;"),
		"the whole record by a function": store(0, 8, "__builtin_memset(e, 0, 8);"),
		"a macro without a place":        store(0, 8, "FILL(e, 1);"),
		"a variable":                     store(0, 8, "x = 1;"),
	} {
		if l := layoutOfOne(site(16, w)); l != nil {
			t.Errorf("%s: %s", rule, show(l.Type.Members))
		}
	}
}

func TestSitesOfOneStructCompleteEachOther(t *testing.T) {
	a := site(16, store(0, 4, "e->pid = x;"), store(8, 8, "e->ns = y;"))
	b := site(16, store(0, 4, "e->pid = x;"), store(4, 4, "e->code = y;"))
	other := site(16, store(0, 4, "e->uid = x;"), store(8, 4, "e->pid = y;"))
	l := layoutOfOne(a, b, other)
	if diff := cmp.Diff("pid u32@0, code u32@4, ns u64@8", show(l.Type.Members)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSamplesAreNamedByTheirReads(t *testing.T) {
	read := func(off, size int64, text, member string) recordflow.Write {
		return recordflow.Write{Off: off, Size: size, Line: recordflow.Line{Text: text, Column: strings.Index(text, member) + 1}}
	}
	data := read(0, 24, "struct cmd *c = bpf_dynptr_data(d, 0, sizeof(*c));", "bpf_")
	data.By = "bpf_dynptr_data"
	l := Samples(&recordflow.Drain{Reads: []recordflow.Write{
		data, read(0, 1, "if (c->kind & 1)", "kind"), read(0, 4, "k = c->kind;", "kind"), read(8, 8, "v += c->arg.v;", "v;"),
		read(16, 8, "x = y;", "x"), read(-1, 4, "z = c->z;", "z;"), read(24, 4, "w = c->w;", "w;"),
	}}, 24)
	if l == nil {
		t.Fatal("not reconstructed")
	}
	if diff := cmp.Diff("cmd: kind u32@0, arg {v u64@0}@8, at_16 u8[8]@16", l.Type.Name+": "+show(l.Type.Members)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	pass := func(off int64, arg int) recordflow.Pass {
		const call = "bpf_map_update_elem(&m, &c->kind, &c->arg, 0);"
		return recordflow.Pass{Func: "bpf_map_update_elem", Arg: arg, Off: off, Line: recordflow.Line{Text: call, Column: 1}}
	}
	l = Samples(&recordflow.Drain{Reads: []recordflow.Write{data}, Passes: []recordflow.Pass{pass(0, 1), pass(4, 2), pass(24, 1), pass(-1, 1)}}, 24)
	if diff := cmp.Diff("kind u32@0, arg u8[20]@4", show(l.Type.Members)); diff != "" {
		t.Errorf("members that are passed: (-want +got)\n%s", diff)
	}
	if l := Samples(&recordflow.Drain{Reads: []recordflow.Write{data}}, 24); l != nil {
		t.Errorf("without reads: %s", show(l.Type.Members))
	}
}

func TestHelpersSayWhatNumbersMean(t *testing.T) {
	from := func(w recordflow.Write, helper string, shift uint8) recordflow.Write {
		w.From = recordflow.Origin{Helper: helper, Shift: shift, Width: 64}
		return w
	}
	s := site(32,
		from(store(0, 8, "e->a = x;"), "bpf_ktime_get_ns", 0),
		from(store(8, 8, "e->b = x;"), "bpf_ktime_get_boot_ns", 0),
		from(store(16, 4, "e->c = x;"), "bpf_get_current_uid_gid", 0),
		from(store(20, 4, "e->d = x;"), "bpf_get_current_uid_gid", 32),
		from(store(24, 8, "e->e = x;"), "bpf_ktime_get_ns", 0), store(24, 8, "e->e = y;"))
	want := map[int]decode.Meaning{0: decode.Ktime, 8: decode.Boottime, 16: decode.UserID, 20: decode.GroupID}
	if diff := cmp.Diff(want, Meanings(s)); diff != "" {
		t.Errorf("Meanings: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, layoutOfOne(s).Meanings); diff != "" {
		t.Errorf("All: (-want +got)\n%s", diff)
	}
}
