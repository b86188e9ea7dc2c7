package runner

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

func TestSections(t *testing.T) {
	for name, want := range map[string]section{
		"kprobe/vfs_read":           {hook: "kprobe", target: "vfs_read"},
		"?fentry.s/vfs_read":        {hook: "fentry", target: "vfs_read", manual: true},
		"uprobe//bin/sh:main+0x4":   {hook: "uprobe", target: "/bin/sh:main+0x4"},
		"xdp.frags":                 {hook: "xdp.frags"},
		"tracepoint/sched/a_switch": {hook: "tracepoint", target: "sched/a_switch"},
	} {
		if got := parseSection(name); got != want {
			t.Errorf("%s: %+v, not %+v", name, got, want)
		}
	}
}

// All jumps reach the same instruction as before, whether they lead over a call, to it, or back.
func TestCallsOfPerfEventOutputBecomeThoseOfRings(t *testing.T) {
	call := asm.FnPerfEventOutput.Call()
	jump := func(distance int16) asm.Instruction {
		return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja), Offset: distance}
	}
	insns := asm.Instructions{
		jump(4), // over the wide load, the call and the next one, to the exit
		asm.LoadImm(asm.R6, 1<<40, asm.DWord),
		call,     // 3
		jump(-2), // to the call
		asm.Return(),
	}
	got := outputToRing(insns)
	if len(got) != len(insns)+len(ringArguments) {
		t.Fatalf("%d instructions:\n%v", len(got), got)
	}
	if got[0].Offset != 8 || got[7].Offset != -6 {
		t.Errorf("jumps of %d and %d, not 8 and -6:\n%v", got[0].Offset, got[7].Offset, got)
	}
	if got[6].Constant != int64(asm.FnRingbufOutput) {
		t.Errorf("the call is %v", got[6])
	}
}

func TestVerifierLogs(t *testing.T) {
	cause := errors.New("permission denied")
	for _, test := range []struct{ name, log, want string }{
		{
			"the reason and the line",
			"0: R1=ctx() R10=fp0\n; u64 *p = get(); @ x.bpf.c:11\n0: (85) call bpf_map_lookup_elem#1\n; return *p; @ x.bpf.c:12\n1: (79) r0 = *(u64 *)(r0 +0)\nR0 invalid mem access 'map_value_or_null'\nprocessed 10 insns (limit 1000000) max_states_per_insn 0",
			"the verifier refuses it: R0 invalid mem access 'map_value_or_null', at: return *p; @ x.bpf.c:12",
		},
		{"no source lines", "0: (95) exit\nR0 !read_ok\nprocessed 1 insns", "the verifier refuses it: R0 !read_ok"},
		{"nothing said", "processed 1 insns", "the verifier refuses it: permission denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := explainLog(cause, strings.Split(test.log, "\n"))
			if err.Error() != test.want || !errors.Is(err, cause) {
				t.Errorf("%v\nnot %v", err, test.want)
			}
		})
	}
}

func TestVariablesTakeTextByTheirType(t *testing.T) {
	u32 := &btf.Int{Name: "u32", Size: 4}
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	mode := &btf.Enum{Name: "mode", Size: 4, Values: []btf.EnumValue{{Name: "OFF"}, {Name: "ON", Value: 3}}}
	for _, test := range []struct {
		name string
		typ  btf.Type
		size int
		text string
		want string // the value's bytes; empty if it is refused
	}{
		{"decimal", u32, 4, "258", "\x02\x01\x00\x00"},
		{"hex", u32, 4, "0x10", "\x10\x00\x00\x00"},
		{"a character", char, 1, "'x'", "x"},
		{"too large", u32, 4, "4294967296", ""},
		{"negative", u32, 4, "-1", ""},
		{"no number", u32, 4, "ten", ""},
		{"bool", &btf.Int{Name: "bool", Size: 1, Encoding: btf.Bool}, 1, "on", "\x01"},
		{"an enumerator", mode, 4, "ON", "\x03\x00\x00\x00"},
		{"no enumerator", mode, 4, "AWAY", ""},
		{"a string", &btf.Array{Index: u32, Type: char, Nelems: 4}, 4, "ls", "ls\x00\x00"},
		{"a list", &btf.Array{Index: u32, Type: u32, Nelems: 2}, 8, "1,2", "\x01\x00\x00\x00\x02\x00\x00\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := &ebpf.VariableSpec{Name: "v", Value: make([]byte, test.size), Type: &btf.Var{Name: "v", Type: test.typ}}
			err := setVariable(v, test.text)
			if test.want == "" {
				if !errors.Is(err, ErrSetting) {
					t.Errorf("value %q, error %v", v.Value, err)
				}
				return
			}
			if err != nil || string(v.Value) != test.want {
				t.Errorf("value %q, error %v", v.Value, err)
			}
		})
	}
}
