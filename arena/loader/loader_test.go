package loader_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestLoadAllKindsOfReferences(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{})
	page := arenatest.FirstPage(t, a)
	spec := arenatest.Spec(t, "references")
	if err := spec.Variables["from_rodata"].Set(uint64(1000)); err != nil {
		t.Fatal(err)
	}
	c := arenatest.Load(t, spec, a)
	if err := c.Maps["array"].Put(uint32(0), uint64(10_000)); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(2) {
		arenatest.Run(t, c.Programs["references"], ebpf.RunOptions{})
		// The sum adds .rodata as set, .data, a static and a global function, the map, and .bss.
		if want := uint64(1000 + 2 + 10 + 100 + 10_000 + i); page.Sum != want {
			t.Errorf("run %d: sum %d, want %d", i, page.Sum, want)
		}
		if want := (i + 1) * 4; page.Count != want { // the static function and three callbacks
			t.Errorf("run %d: count %d, want %d", i, page.Count, want)
		}
	}
}

func TestLoadKeepsFunctionAndLineInfo(t *testing.T) {
	a := arenatest.New(t, arena.Options{})
	c := arenatest.Load(t, arenatest.Spec(t, "references"), a)
	info, err := c.Programs["references"].Info()
	if err != nil {
		t.Fatal(err)
	}
	funcs, err := info.FuncInfos()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range funcs {
		names = append(names, f.Func.Name)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "references") || !strings.Contains(got, "static_sub") || !strings.Contains(got, "callback") {
		t.Errorf("functions: %s", got)
	}
	lines, err := info.LineInfos()
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) < 10 || lines[0].Line.LineNumber() == 0 {
		t.Errorf("%d lines", len(lines))
	}
}

func TestLoadTypes(t *testing.T) {
	for i, name := range []string{"type_xdp", "type_raw_tp", "type_tp_btf", "type_fentry"} {
		t.Run(name, func(t *testing.T) {
			a := arenatest.New(t, arena.Options{})
			page := arenatest.FirstPage(t, a)
			spec := arenatest.Spec(t, name)
			c, err := loader.NewCollection(spec, arenatest.Options(a))
			if errors.Is(err, unix.EPERM) && name == "type_fentry" {
				testenv.SkipWithout(t, "fentry", err)
			}
			if err != nil {
				t.Fatalf("%+v", err)
			}
			defer c.Close()
			p := c.Programs[name]
			if p.Type() != spec.Programs[name].Type {
				t.Errorf("type %s, want %s", p.Type(), spec.Programs[name].Type)
			}
			switch name {
			case "type_xdp":
				arenatest.Run(t, p, ebpf.RunOptions{Data: make([]byte, 64)})
			case "type_raw_tp":
				arenatest.Run(t, p, ebpf.RunOptions{})
			case "type_tp_btf":
				attachTracing(t, p)
				if err := exec.Command("true").Run(); err != nil {
					t.Fatal(err)
				}
			case "type_fentry":
				attachTracing(t, p)
				arenatest.Run(t, p, ebpf.RunOptions{}) // the kernel calls bpf_fentry_test1, and so p
			}
			if page.Seen[i] != 1 {
				t.Errorf("it wrote %d", page.Seen[i])
			}
		})
	}
}

// attachTracing attaches a program until the test ends.
func attachTracing(tb testing.TB, p *ebpf.Program) {
	tb.Helper()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
}

func TestLoadProgramArray(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{})
	page := arenatest.FirstPage(t, a)
	spec := arenatest.Spec(t, "tail", "tail_calls")
	spec.Maps["tails"].Contents = []ebpf.MapKV{{Key: uint32(1), Value: "tail"}}
	c := arenatest.Load(t, spec, a)
	if ret := arenatest.Run(t, c.Programs["tail_calls"], ebpf.RunOptions{Data: make([]byte, 64)}); ret != 7 || page.Sum != 77 {
		t.Errorf("returned %d, sum %d", ret, page.Sum)
	}
}

func TestLoadCreatesTheArena(t *testing.T) {
	testenv.NoLeaks(t)
	arenatest.New(t, arena.Options{}) // skips the test if the kernel has no arenas
	spec := arenatest.Spec(t, "tail")
	spec.Maps["arena"].MaxEntries = 10
	c, err := loader.NewCollection(spec, loader.Options{NoVariables: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := c.Arenas["arena"]
	if a.Size() != 10*arenamem.PageSize {
		t.Errorf("size %d", a.Size())
	}
	page := arenatest.FirstPage(t, a)
	if arenatest.Run(t, c.Programs["tail"], ebpf.RunOptions{Data: make([]byte, 64)}); page.Sum != 77 {
		t.Errorf("sum %d", page.Sum)
	}
	c.Close()
	if a.Size() != 0 {
		t.Error("the collection left its arena open")
	}
	if spec.Programs["tail"] == nil || spec.Maps["arena"].MaxEntries != 10 {
		t.Error("the spec was changed")
	}
}

// cilium/ebpf loads the programs that do not convert arena pointers.
func TestLoadWithoutCasts(t *testing.T) {
	a := arenatest.New(t, arena.Options{})
	spec := arenatest.Spec(t, "without_cast")
	if err := spec.Variables["from_rodata"].Set(uint64(5)); err != nil {
		t.Fatal(err)
	}
	c, err := loader.NewCollection(spec, loader.Options{Arenas: map[string]*arena.Arena{"arena": a}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ret := arenatest.Run(t, c.Programs["without_cast"], ebpf.RunOptions{}); ret != 5 {
		t.Errorf("returned %d", ret)
	}
	if c.Variables["from_data"] == nil {
		t.Error("no variables")
	}
}

func TestLoadGlobals(t *testing.T) {
	for _, segv := range []bool{false, true} {
		t.Run(fmt.Sprintf("segv on fault %t", segv), func(t *testing.T) {
			testenv.NoLeaks(t)
			a := arenatest.New(t, arena.Options{SegvOnFault: segv})
			spec, err := loader.LoadCollectionSpecFromReader(arenatest.Globals())
			if err != nil {
				t.Fatal(err)
			}
			if err := spec.Variables["number"].Set(uint64(40)); err != nil {
				t.Fatal(err)
			}
			// Each collection has its own variables.
			for range 2 {
				c := arenatest.Load(t, spec, a)
				if ret := arenatest.Run(t, c.Programs["globals"], ebpf.RunOptions{}); ret != 0 {
					t.Fatalf("returned %d", ret)
				}
				number, err := arena.Ptr[uint64](c.Globals["number"]).In(a)
				if err != nil {
					t.Fatal(err)
				}
				numbers, err := arena.Ptr[[3]uint64](c.Globals["numbers"]).In(a)
				if err != nil {
					t.Fatal(err)
				}
				pointer, err := arena.Ptr[arena.Ptr[uint64]](c.Globals["pointer"]).In(a)
				if err != nil {
					t.Fatal(err)
				}
				if *number != 42 || *numbers != [3]uint64{1, 2, 42} {
					t.Errorf("number %d, numbers %d", *number, *numbers)
				}
				if to, err := pointer.In(a); err != nil || to != &numbers[2] {
					t.Errorf("pointer %#x, %v", *pointer, err)
				}
			}
		})
	}
}

func TestLoadRefused(t *testing.T) {
	arenatest.New(t, arena.Options{}) // skips the test if the kernel has no arenas
	cast := asm.Instruction{OpCode: asm.Mov.Op(asm.RegSource), Dst: asm.R1, Src: asm.R1, Offset: 1, Constant: 1}
	program := func(insns ...asm.Instruction) *ebpf.CollectionSpec {
		return &ebpf.CollectionSpec{
			Maps: map[string]*ebpf.MapSpec{},
			Programs: map[string]*ebpf.ProgramSpec{"prog": {
				Name: "prog", Type: ebpf.Syscall, Flags: unix.BPF_F_SLEEPABLE, License: "GPL",
				Instructions: append(insns, asm.Mov.Imm(asm.R0, 0), asm.Return()),
			}},
		}
	}
	load := func(name string) asm.Instruction {
		return asm.LoadMapPtr(asm.R1, 0).WithReference(name)
	}
	arenaMap := &ebpf.MapSpec{Name: "a", Type: ebpf.Arena, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE}

	two := program(load("a"), load("b"), asm.Mov.Imm(asm.R1, 0), cast)
	two.Maps["a"], two.Maps["b"] = arenaMap, arenaMap.Copy()

	tests := []struct {
		rule    string
		spec    *ebpf.CollectionSpec
		says    string
		is      error
		refused bool // whether the verifier refuses the program
	}{
		{"a cast without an arena", program(asm.Mov.Imm(asm.R1, 0), cast),
			"addr_space_cast insn can only be used in a program that has an associated arena", unix.EINVAL, true},
		{"two arenas in one program", two, "Only one arena per program", unix.EBUSY, true},
		{"a kfunc that the kernel lacks", arenatest.Spec(t, "without_kfunc"), `kfunc "rbtool_no_such_required_kfunc"`, ebpf.ErrNotSupported, true},
		{"a map that the collection lacks", program(load("nothing"), asm.Mov.Imm(asm.R1, 0), cast), `"nothing"`, ebpf.ErrNotSupported, false},
		{"an access beyond the context", func() *ebpf.CollectionSpec {
			s := program(load("a"), asm.LoadMem(asm.R2, asm.R10, 8, asm.DWord), cast)
			s.Maps["a"] = arenaMap
			return s
		}(), "invalid read from stack", unix.EACCES, true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			c, err := loader.NewCollection(tt.spec, loader.Options{NoVariables: true})
			if err == nil {
				c.Close()
				t.Fatal("loaded")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), tt.says) || !errors.Is(err, tt.is) {
				t.Errorf("error %q; want one that says %q and is %q", err, tt.says, tt.is)
			}
			var verifier *ebpf.VerifierError
			if errors.As(err, &verifier) != tt.refused {
				t.Errorf("verifier's log: %t", !tt.refused)
			}
		})
	}
}

func TestAnArenaThatTheCollectionLacks(t *testing.T) {
	a := arenatest.New(t, arena.Options{})
	_, err := loader.NewCollection(arenatest.Spec(t), loader.Options{Arenas: map[string]*arena.Arena{"other": a}})
	if err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("error %v", err)
	}
}

// cilium/ebpf alone cannot load casts. When this test fails, syscall.Loader is no longer needed.
func TestCiliumStillLosesCasts(t *testing.T) {
	a := arenatest.New(t, arena.Options{})
	spec := arenatest.Spec(t, "tail")
	spec.Maps["arena"].MaxEntries = a.Map().MaxEntries()
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"arena": a.Map()}, Cache: btf.NewCache(),
	})
	if err == nil {
		c.Close()
		t.Fatal("loaded: internal/syscall.Loader is no longer needed")
	}
	if !strings.Contains(err.Error(), "BPF_MOV uses reserved fields") {
		t.Errorf("refused for another reason: %v", err)
	}
}

// On a kernel without arenas, the error says that arenas are missing, whatever errno the kernel returned.
func TestLoadWhereArenasAreMissing(t *testing.T) {
	c, err := loader.NewCollection(arenatest.Spec(t, "references"), loader.Options{NoVariables: true})
	if err == nil {
		c.Close() // this kernel has arenas
		return
	}
	if !errors.Is(err, ebpf.ErrNotSupported) || !strings.Contains(err.Error(), "arena maps (Linux 6.9") {
		t.Errorf("error %v", err)
	}
}
