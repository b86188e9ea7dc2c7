package srcline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
)

func show(a Assign) string {
	s := a.Place.String()
	if a.Place.Deref && len(a.Place.Path) == 0 {
		s = "*" + s
	}
	if a.Place.As != "" {
		s = "(" + a.Place.As + ")" + s
	}
	if a.Declared.Name != "" {
		s = a.Declared.Name + " " + s
	}
	return fmt.Sprintf("%s %s @%d", s, a.Op, a.Column)
}

func TestAssignments(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"e->pid = pid;", []string{"e->pid = @8"}},
		{"\te->pid = pid; e->uid = 3;", []string{"e->pid = @9", "e->uid = @23"}},
		{"event.saddr.v4 = x", []string{"event.saddr.v4 = @16"}},
		{"e->a = e->b = 1;", []string{"e->a = @6", "e->b = @13"}},
		{"e->x |= 1;", []string{"e->x |= @6"}},
		{"e->x <<= 1;", []string{"e->x <<= @6"}},
		{"e->n++;", []string{"e->n ++ @5"}},
		{"++e->n;", []string{"e->n ++ @1"}},
		{"(*e).x = 1;", []string{"e->x = @8"}},
		{"(&e)->x = 1;", []string{"e.x = @9"}},
		{"((struct event *)p)->x = 1;", []string{"p->x = @24"}},
		{"*(u64 *)&e->x = 0;", []string{"(u64)e->x = @15"}},
		{"*(__u64 *)(&e->x) = 0;", []string{"(__u64)e->x = @19"}},
		{"*(u64 *)e = 0;", []string{"(u64)*e = @11"}},
		{"*e = *x;", []string{"*e = @4"}},
		{"e->args[i] = x;", []string{"e->args[] = @12"}},
		{"e->args[1][2] = x;", []string{"e->args[1][2] = @15"}},
		{"e->ep[0].port = x;", []string{"e->ep[0].port = @15"}},
		{"e[0x1].port = x;", []string{"e[1].port = @13"}},
		{"e->args[i", nil},
		{"if (x) e->pid = 1; else e->pid = 2;", []string{"e->pid = @15", "e->pid = @32"}},
		{"if ((e->ret = f(x)) < 0) return 0;", []string{"e->ret = @13"}},
		{"if (x) *p = 1;", []string{"*p = @11"}},
		{"if (e->x == 1 && e->y <= 2)", nil},
		{"case 1: e->x = 1; break;", []string{"e->x = @14"}},
		{"return e->x = 1;", []string{"e->x = @13"}},
		{"} else e->x = 1;", []string{"e->x = @13"}},
		{"struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);", []string{"event e = @17"}},
		{"struct event e = {};", []string{"event e = @16"}},
		{"const struct event * const e = p;", []string{"event e = @30"}},
		{"char buf[16] = {};", []string{"char buf = @14"}},
		{"struct event e = { .pid = 1, .src.addr = 2,", []string{"event e = @16", ".pid = @25", ".src.addr = @40"}},
		{"\t.pid = x, .ip[0] = 3 };", []string{".pid = @7", ".ip[0] = @19"}},
		{"e->/* the pid */pid = 1; // e->uid = 2", []string{"e->pid = @21"}},
		{`e->c = '='; e->s = "x->y = 1";`, []string{"e->c = @6", "e->s = @18"}},
		{"e->ptr->x = 1;", []string{"e->ptr->x = @11"}},
		{"p.a[1]->b.c->x.y = 1;", []string{"p.a[1]->b.c->x.y = @18"}},
		{"*e->ptr = 1;", []string{"*e->ptr = @9"}},
		{"get(e)->x = 1;", nil},
		{"&e->x = 1;", nil},
		{"a + b = 1;", []string{"b = @7"}},
		{"e->pid =", []string{"e->pid = @8"}},
		{"= 1;", nil},
		{"]->x = 1;", nil},
		{")->x = 1;", nil},
	} {
		var got []string
		for _, a := range Parse(tt.line).Assigns {
			got = append(got, show(a))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.line, diff)
		}
	}
}

func TestCalls(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"BPF_CORE_READ_INTO(&e->ppid, task, real_parent, tgid);", []string{"BPF_CORE_READ_INTO@1 &e->ppid, task, real_parent, tgid"}},
		{"  bpf_get_current_comm(&e->comm, sizeof(e->comm));", []string{"bpf_get_current_comm@3 &e->comm, ?"}},
		{"bpf_probe_read_kernel_str(e->filename, 5, f(a, b));", []string{"bpf_probe_read_kernel_str@1 e->filename, ?, ?", "f@43 a, b"}},
		{"__builtin_memcpy(&event.saddr[0], (void *)&x.y, 4);", []string{"__builtin_memcpy@1 &event.saddr[0], &x.y, ?"}},
		{"bpf_probe_read(e->args + e->size, n,", []string{"bpf_probe_read@1 e->args[], n ..."}},
		{"bpf_probe_read((char *)e + 8, n, p);", []string{"bpf_probe_read@1 ?, n, p"}},
		{"bpf_probe_read(&(e->x), n, p)", []string{"bpf_probe_read@1 &e->x, n, p"}},
		{"x = f() + g(h(1))", []string{"f@5 ", "g@11 ?", "h@13 ?"}},
		{"if (e) return sizeof(x);", nil},
	} {
		var got []string
		for _, c := range Parse(tt.line).Calls {
			var args []string
			for _, a := range c.Args {
				switch {
				case !a.Named:
					args = append(args, "?")
				case a.Addr:
					args = append(args, "&"+a.Place.String())
				default:
					args = append(args, a.Place.String())
				}
			}
			s := fmt.Sprintf("%s@%d %s", c.Name, c.Column, strings.Join(args, ", "))
			if c.Open {
				s += " ..."
			}
			got = append(got, s)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.line, diff)
		}
	}
}

func TestTypes(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []TypeName
	}{
		{"struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);", []TypeName{{Name: "event", Tag: true}}},
		{"e = (event_t *)bpf_ringbuf_reserve(&rb, sizeof(event_t), 0);", []TypeName{{Name: "event_t", Value: true}}},
		{"e = bpf_ringbuf_reserve(&rb, sizeof(struct a) + sizeof(union b), 0);",
			[]TypeName{{Name: "a", Tag: true, Value: true}, {Name: "b", Tag: true, Value: true}}},
		{"e->id = ((struct key *)k)->id;", []TypeName{{Name: "key", Tag: true, Value: true}}},
		{"((struct event *)e)->id = 1;", []TypeName{{Name: "event", Tag: true}}},
		{"*(event_t *)e = (struct key){ 1 };", []TypeName{{Name: "event_t"}, {Name: "key", Tag: true}}},
		{"e->n = f((struct key){ 1 });", []TypeName{{Name: "key", Tag: true, Value: true}}},
		{"struct event e = *(struct event *)x;", []TypeName{{Name: "event", Tag: true}}},
		{"struct event event = f(sizeof(event));", []TypeName{{Name: "event", Tag: true}, {Name: "event", Value: true}}},
		{"bpf_ringbuf_output(&rb, &e, sizeof(e), 0);", []TypeName{{Name: "e"}}},
		{"event_t *e = reserve();", []TypeName{{Name: "event_t"}}},
		{"u32 x = (u64)y;", nil},
		{"// struct event", nil},
	} {
		if diff := cmp.Diff(tt.want, Parse(tt.line).Types); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.line, diff)
		}
	}
}

// The compiler gives a store the column of the operator, and a call that of the name.
func TestColumnsFindWhatALineDoes(t *testing.T) {
	l := Parse("\te->a = e->b = f(x); g(&e->c);")
	if a := l.AssignAt(14); a == nil || a.Place.String() != "e->b" {
		t.Errorf("AssignAt(14) = %v", a)
	}
	if c := l.CallAt(22); c == nil || c.Name != "g" {
		t.Errorf("CallAt(22) = %v", c)
	}
	if a := l.Result(l.Call("f")); a == nil || a.Place.String() != "e->b" {
		t.Errorf("Result(f) = %v", a)
	}
	if a := l.Result(l.Call("g")); a != nil {
		t.Errorf("Result(g) = %v", a)
	}
	if l.AssignAt(1) != nil || l.CallAt(1) != nil || l.Call("h") != nil {
		t.Error("something is found where nothing is")
	}
}

func TestAPointerInAStructIsAVariable(t *testing.T) {
	want := Place{Var: "p->event", Deref: true, Path: []Step{{Member: "context"}, {Member: "ts"}}}
	if diff := cmp.Diff(want, Parse("p->event->context.ts = 1;").Assigns[0].Place); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDeclarations(t *testing.T) {
	l := Parse("struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);")
	want := []Assign{{
		Place: Place{Var: "e"}, Op: "=", Column: 17, Start: 18, End: 58,
		Declared: TypeName{Name: "event", Tag: true, Pointer: true},
	}}
	if diff := cmp.Diff(want, l.Assigns); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestVariablesHaveTheirDeclaredTypes(t *testing.T) {
	for _, tt := range []struct {
		line, variable string
		want           TypeName
	}{
		{"struct event *e, *f;", "e", TypeName{Name: "event", Tag: true, Pointer: true}},
		{"static int fill(void *ctx, const event_t *e)", "e", TypeName{Name: "event_t", Pointer: true}},
		{"struct event e = {};", "e", TypeName{Name: "event", Tag: true}},
		{"struct event e[2];", "e", TypeName{Name: "event", Tag: true}},
		{"u64 ns;", "ns", TypeName{Name: "u64"}},
		{"return e;", "e", TypeName{}},
		{"if (e) e->x = 1;", "e", TypeName{}},
		{"e = f(e);", "e", TypeName{}},
		{"", "e", TypeName{}},
	} {
		got, ok := Declared(tt.line)[tt.variable]
		if got != tt.want || ok != (tt.want.Name != "") {
			t.Errorf("%s: %+v, %v", tt.line, got, ok)
		}
	}
}

func TestLoadsHaveTheColumnOfTheMember(t *testing.T) {
	for _, tt := range []struct {
		line   string
		column int
		want   string
	}{
		{"\tif (c->kind == 3)", 9, "c->kind"},
		{"p = c.src.port;", 11, "c.src.port"},
		{"p = c->args[2] + 1;", 8, "c->args[2]"},
		{"p = x;", 5, "x"},
		{"p = f(x)->y;", 11, ""},
		{"p = 1;", 5, ""},
		{"p = c->kind;", 6, ""},
		{"p = c->kind;", 100, ""},
	} {
		got, ok := ReadAt(tt.line, tt.column)
		if ok != (tt.want != "") || ok && got.String() != tt.want {
			t.Errorf("%s at %d: %s, %v", tt.line, tt.column, got, ok)
		}
	}
}

func TestLongLinesAreCut(t *testing.T) {
	l := Parse(strings.Repeat(" ", MaxLen) + "e->pid = 1;")
	if len(l.Assigns) != 0 {
		t.Errorf("assignments after MaxLen: %v", l.Assigns)
	}
	deep := Parse("x = " + strings.Repeat("(", 500) + "e->pid = 1" + strings.Repeat(")", 500) + strings.Repeat("->a", 100) + " = 1;")
	for _, a := range deep.Assigns {
		if len(a.Place.Path) > maxSteps {
			t.Errorf("path of %d steps", len(a.Place.Path))
		}
	}
}

// Each part of a line can take as long as the line is: 1000 such lines took 10 s.
func TestLinesWithVeryManyParts(t *testing.T) {
	for _, part := range []string{"f(", "a=", "++a ", "sizeof(a)=", "struct s *a = f(b", "(u32)", "a->", "a["} {
		line := strings.Repeat(part, MaxLen/len(part))
		var l *Line
		got := testenv.Allocated(func() { l = Parse(line) })
		if len(l.Calls) > maxParts || len(l.Assigns) > maxParts || len(l.Types) > maxParts || got > 512<<10 {
			t.Errorf("%s: %d calls, %d assignments, %d types, %d KiB", part, len(l.Calls), len(l.Assigns), len(l.Types), got>>10)
		}
	}
	plain := strings.Repeat("e->a = f(struct s);", maxParts-1)
	if l := Parse(plain); len(l.Assigns) != maxParts-1 || len(l.Calls) != maxParts-1 {
		t.Errorf("%d assignments and %d calls of a line that has fewer", len(l.Assigns), len(l.Calls))
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);", "*(u64 *)&e->x[1] = 0;", ".a = 1, .b.c = {", "((a)b)->c = 1",
		"e->a = e->b = 1; ++e->c; f(a, &b[1].c + 2,", "/* x", `"\`, ")(][}{", "if (x) *p = *q;",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		Declared(text)
		for column := range min(len(text), 64) {
			ReadAt(text, column)
		}
		l := Parse(text)
		for _, a := range l.Assigns {
			if a.Column < 1 || a.Column > len(text) || a.Start < a.Column || a.End > len(text)+1 || len(a.Place.Path) > maxSteps {
				t.Errorf("%q: %+v", text, a)
			}
			if (a.Place.Var == "") != a.Member || a.Member && len(a.Place.Path) == 0 {
				t.Errorf("%q: %+v", text, a)
			}
		}
		for _, c := range l.Calls {
			if c.Name == "" || text[c.Column-1:c.Column-1+len(c.Name)] != c.Name {
				t.Errorf("%q: %+v", text, c)
			}
		}
	})
}
