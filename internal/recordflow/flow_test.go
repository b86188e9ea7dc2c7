package recordflow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
)

// fromObject returns a program of testdata/flow.bpf.c as clang wrote it, and the ids of its maps. The programs'
// records go into the map ring.
func fromObject(t *testing.T, name, ring string) *Program {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec("testdata/flow_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]uint32{}
	p := &Program{Maps: map[uint32]Map{}, Helper: func(imm int32) string { return nameInC(asm.BuiltinFunc(imm)) }}
	for _, m := range spec.Maps {
		id := uint32(len(ids) + 100)
		ids[m.Name] = id
		p.Maps[id] = Map{Name: m.Name, Type: m.Type, ValueSize: m.ValueSize, Ring: m.Name == ring}
	}
	p.Insns = spec.Programs[name].Instructions
	for i := range p.Insns {
		if ins := &p.Insns[i]; ins.IsLoadFromMap() {
			ins.Constant = ins.Constant&^(1<<32-1) | int64(ids[ins.Reference()])
		}
	}
	// The calls get their distances when the instructions are written.
	var raw bytes.Buffer
	if err := p.Insns.Marshal(&raw, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	again, err := asm.AppendInstructions(nil, &raw, binary.LittleEndian, "linux")
	if err != nil {
		t.Fatal(err)
	}
	for i, ins := range again {
		p.Insns[i].Constant = ins.Constant
	}
	return p
}

// nameInC returns the name of a helper as C programs spell it: bpf_map_lookup_elem for FnMapLookupElem.
func nameInC(fn asm.BuiltinFunc) string {
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range strings.TrimPrefix(fn.String(), "Fn") {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// fromKernel returns a program of testdata/flow.bpf.c as the kernel dumps it. A test that needs a feature is
// skipped if the kernel does not load the program.
func fromKernel(t *testing.T, name, ring, needs string) *Program {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := ebpf.LoadCollectionSpec("testdata/flow_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	prog := spec.Programs[name]
	spec.Programs = map[string]*ebpf.ProgramSpec{name: prog}
	uses := prog.Instructions.ReferenceOffsets()
	for name := range spec.Maps {
		if _, used := uses[name]; !used && !slices.Contains([]string{".bss", "first", "second"}, name) {
			delete(spec.Maps, name)
		}
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil && needs != "" {
		testenv.SkipWithout(t, needs, err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	p := &Program{Maps: map[uint32]Map{}}
	if p.Helper, err = Helpers(); err != nil {
		t.Fatal(err)
	}
	for _, m := range coll.Maps {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		p.Maps[uint32(id)] = Map{Name: info.Name, Type: info.Type, ValueSize: info.ValueSize, Ring: m == coll.Maps[ring]}
	}
	info, err := coll.Programs[name].Info()
	if err != nil {
		t.Fatal(err)
	}
	if p.Insns, err = info.Instructions(); err != nil {
		t.Fatal(err)
	}
	return p
}

// summary returns the sites of a Flow as text, a fact a line.
func summary(f *Flow) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, s := range f.Sites {
		line := fmt.Sprintf("%s %s %d", s.Func, strings.TrimPrefix(s.Call, "bpf_ringbuf_"), s.Min)
		if s.Max != s.Min {
			line += fmt.Sprintf("..%d", s.Max)
		}
		for _, c := range s.Callers {
			line += " from " + c.Func
		}
		if s.Escapes {
			line += " escapes"
		}
		lines = append(lines, line)
		for _, d := range s.Data {
			add(" data %s", kindNames[d.Kind]+describeData(d))
		}
		for _, w := range s.Writes {
			add(" %s", describeWrite(w))
		}
		for _, p := range s.Passes {
			if p.Param != nil {
				add(" passed to %s as %s%+d", p.Func, p.Param.Name, p.Off)
			}
		}
	}
	for _, d := range f.Drains {
		add("%s drains into %s", d.Func, d.Callback)
		for _, r := range d.Reads {
			add(" reads %s", describeWrite(r))
		}
		for _, p := range d.Passes {
			if p.Param != nil {
				add(" passed to %s as %s%+d", p.Func, p.Param.Name, p.Off)
			}
		}
	}
	return lines
}

var kindNames = map[DataKind]string{
	UnknownData: "unknown", Variable: "variable", Element: "element", Argument: "argument", Stack: "stack", Context: "context",
}

func describeData(d Data) string {
	switch {
	case d.Kind == Stack:
		return ""
	case d.Param != nil:
		return fmt.Sprintf(" %s of %s%+d", d.Param.Name, d.Func, d.Off)
	}
	return fmt.Sprintf("%+d", d.Off)
}

func describeWrite(w Write) string {
	size, value := fmt.Sprint(w.Size), ""
	if w.Size == 0 {
		size = fmt.Sprintf("..%d", w.Max)
	}
	switch {
	case w.By != "":
		value = " by " + strings.TrimPrefix(w.By, "bpf_")
	case w.Constant:
		value = fmt.Sprintf(" = %d", w.Const)
	case w.From.Helper != "":
		value = fmt.Sprintf(" = %s>>%d:%d", strings.TrimPrefix(w.From.Helper, "bpf_"), w.From.Shift, w.From.Width)
	}
	if w.Over {
		value += " and over"
	}
	off := fmt.Sprint(w.Off)
	if w.Off < 0 {
		off = "?"
	}
	return off + "+" + size + value
}

var flowTests = []struct {
	rule, program, ring string
	needs               string // a feature; "" if all kernels with rings load the program
	want                string
}{
	{"a record on the stack", "on_stack", "ring", "", `
on_stack output 40
 data stack
 32+8 = 0
 0+8 = 0
 0+4 = get_current_pid_tgid>>32:32
 8+8 = ktime_get_ns>>0:64
 16+16 by get_current_comm
 32+4 = 7`},
	{"a function that sends records of several types", "wrapped", "ring", "", `
send output 40 from wrapped
 data stack
 data argument data of send+0
 32+8 = 0
 8+8 = 0
 0+8 = 0
 16+16 by get_current_comm
 passed to send as data+0
send output 8 from wrapped
 data stack
 data argument data of send+0
 0+8 = 5
 passed to send as data+0`},
	{"a function that fills several records", "filled", "ring", "", `
filled output 40
 data stack
 0+8 = 0
 8+8 = 0
 16+8 = 0
 24+8 = 0
 32+8 = 0
 32+4 = 1
 8+8 = ktime_get_ns>>0:64
 0+4 = 11
 passed to fill as e+0
filled output 40
 data stack
 0+8 = 0
 8+8 = 0
 16+8 = 0
 24+8 = 0
 32+8 = 0
 32+4 = 2
 8+8 = ktime_get_ns>>0:64
 0+4 = 12
 passed to fill as e+0`},
	{"reservations that come together", "merged", "ring", "", `
merged reserve 40
 32+4 = 1
 32+4 = 2
 4+4 = 9
 0+4 = 3
 passed to tids as e+0
merged reserve 48
 32+4 = 1
 32+4 = 2
 4+4 = 9
 0+4 = 3
 passed to tids as e+0`},
	{"a function that reserves the record", "reserved", "ring", "", `
reserve reserve 40 from reserved
 32+4 = 4`},
	{"a part of an element of a per-CPU array", "part_percpu", "ring", "", "part_percpu" + part},
	{"a part of an element of a hash table", "part_hash", "ring", "", "part_hash" + part},
	{"a part of an element of an array", "part_array", "ring", "", "part_array" + part},
	{"a global variable", "variable", "ring", "", `
send output 64 from variable
 data variable+0
 data argument data of send+0
 4+4 = 6
 passed to send as data+0`},
	{"a length that a helper returns", "text", "ring", "", `
text output 0..56
 data element+24
 0+56 by probe_read_kernel_str`},
	{"a ring in an array of maps", "nested", "rings", "", `
put reserve 40 from nested
 32+4 = 8`},
	{"a ring in a hash of maps", "nested_hash", "named_rings", "", `
put reserve 40 from nested_hash
 32+4 = 8`},
	{"a function that gets one of two rings", "one_of_two", "ring", "", `
put reserve 40 from one_of_two
 32+4 = 8`},
	{"writes through a dynptr", "by_dynptr", "ring", "ringbuf-dynptr", `
by_dynptr reserve_dynptr 40..167
 0+8 = 3
 0+8 by dynptr_write
 40+4 = 2`},
	{"writes of a callback", "by_callback", "ring", "bpf-loop", `
by_callback reserve 40
 4+4 = 5`},
	{"writes that later ones cover", "overwritten", "ring", "", `
overwritten reserve 40
 32+4 = 2
 0+4 = 1 and over
 0+4 by probe_read_kernel
 32+4 by probe_read_kernel`},
	{"an element that is used again", "reused", "ring", "", `
reused output 64
 data element+0
 0+4 = 1
 8+56 by probe_read_kernel_str
reused output 40
 data element+0
 8+56 by probe_read_kernel_str
 0+4 = 2
 8+8 = ktime_get_ns>>0:64
 16+16 by get_current_comm
 32+4 = 7`},
	{"samples of a user ring", "drained", "user", "user_ringbuf-drain", `
drained drains into handle
 reads 0+16 by dynptr_data
 reads 0+4
 reads 8+8`},
	{"samples that are copied", "copied", "user", "user_ringbuf-drain", `
copied drains into copy
 reads 0+16 by dynptr_read
 reads 0+4
 reads 4+2
 passed to apply as c+0`},
	{"writes at offsets that are not constant", "looped", "ring", "", `
looped reserve 64
 0+4 = 1
 ?+1`},
}

const part = ` output 8..39
 data element+16
 0+8 = 8589934593
 8+56 by probe_read_kernel_str`

// The facts are the same in the instructions that clang wrote and in those that the kernel dumps.
func TestFlowOfObjects(t *testing.T) {
	for _, tt := range flowTests {
		t.Run(tt.rule, func(t *testing.T) { checkFlow(t, fromObject(t, tt.program, tt.ring), tt.want) })
	}
}

// If the kernel hides the helpers, the source lines name them. The line of a macro does not.
func TestFlowOfHiddenHelpers(t *testing.T) {
	for _, tt := range flowTests {
		if strings.HasPrefix(tt.program, "part_") {
			continue
		}
		t.Run(tt.rule, func(t *testing.T) {
			for _, p := range []*Program{fromObject(t, tt.program, tt.ring), fromKernel(t, tt.program, tt.ring, tt.needs)} {
				p.Helper = nil
				checkFlow(t, p, tt.want)
			}
		})
	}
}

func TestFlowOfLoadedPrograms(t *testing.T) {
	for _, tt := range flowTests {
		t.Run(tt.rule, func(t *testing.T) { checkFlow(t, fromKernel(t, tt.program, tt.ring, tt.needs), tt.want) })
	}
}

func checkFlow(t *testing.T, p *Program, want string) {
	t.Helper()
	f, err := Analyze(p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), summary(f)); diff != "" {
		t.Errorf("%s\n%v", diff, p.Insns)
	}
}
