package conform

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/mapflag"
)

var _ = register(Arena,
	Rule{
		Name:      "address-before-load",
		Statement: "A program cannot be loaded before its arena has a user address, from map_extra or a mapping.",
		Source:    verifier + "check_map_prog_compatibility (Linux 6.9)",
		check: func(t *T) {
			body := func(m *ebpf.Map) code { return program(theMap(asm.R1, m), ret(0)) }
			t.refused(rawTracepoint, body(t.create(arenaSpec(1, 0, 0))), "arena's user address must be set via map_extra or mmap()")
			t.load(rawTracepoint, body(t.create(arenaSpec(1, arenaBase, 0))))
		},
	},
	Rule{
		Name:      "one-arena",
		Statement: "A program can refer to one arena only.",
		Source:    verifier + "check_map_prog_compatibility (Linux 6.9)",
		check: func(t *T) {
			first, second := t.create(arenaSpec(1, arenaBase, 0)), t.create(arenaSpec(1, arenaBase+window, 0))
			t.refused(rawTracepoint, program(theMap(asm.R1, first), theMap(asm.R2, second), ret(0)), "Only one arena per program")
			t.load(rawTracepoint, program(theMap(asm.R1, first), theMap(asm.R2, first), ret(0)))
		},
	},
	Rule{
		Name:      "cast-needs-arena",
		Statement: "An addr_space_cast in a program without an arena is refused.",
		Source:    verifier + "check_alu_op (Linux 6.9)",
		check: func(t *T) {
			t.needMap(ebpf.Arena)
			t.refused(rawTracepoint, program(arg(asm.R7, 0), toKernel(asm.R7), ret(0)),
				"addr_space_cast insn can only be used in a program that has an associated arena")
		},
	},
	Rule{
		Name:      "cast-spaces",
		Statement: "An addr_space_cast converts between address spaces 1 and 0 only.",
		Source:    verifier + "check_alu_op (Linux 6.9)",
		check: func(t *T) {
			m := t.create(arenaSpec(1, arenaBase, 0))
			t.refused(rawTracepoint, program(theMap(asm.R1, m), arg(asm.R7, 0), cast(asm.R7, 3), ret(0)),
				"addr_space_cast insn can only convert between address space 1 and 0")
		},
	},
	Rule{
		Name:      "cast-to-user",
		Statement: "An addr_space_cast to user space gives the full user address.",
		Source:    verifier + "do_misc_fixups; arch/x86/net/bpf_jit_comp.c (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, 0)
			equal(t, "address", a.toUserAndBack(), a.addr(1))
		},
	},
	Rule{
		Name:      "no-user-conv",
		Statement: "With BPF_F_NO_USER_CONV an addr_space_cast to user space gives the lower 32 bits only.",
		Source:    verifier + "check_alu_op (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, mapflag.NoUserConv)
			equal(t, "address", a.toUserAndBack(), a.addr(1)&(window-1))
		},
	},
	Rule{
		Name:      "atomics",
		Statement: "Atomic instructions work in an arena, and give the old value where asked to.",
		Source:    verifier + "check_atomic_rmw; arch/x86/net/bpf_jit_comp.c, emit_atomic_rmw_index (Linux 6.10)",
		check: func(t *T) {
			a := t.arena(2, 0)
			out := t.output()
			*a.word(1) = 40
			p := t.load(rawTracepoint, program(
				theMap(asm.R1, a.m), arg(asm.R7, 0), toKernel(asm.R7), set(asm.R8, 2),
				atomically(asm.FetchAdd.Mem(asm.R7, asm.R8, asm.DWord, 0)), out.put(0, asm.R8, asm.R1), ret(0),
			))
			t.call(p, a.addr(1))
			equal(t, "old value", out.words()[0], 40)
			equal(t, "new value", *a.word(1), 42)
		},
	},
	Rule{
		Name:      "acquire-release",
		Statement: "Load-acquire and store-release instructions work in an arena.",
		Source:    verifier + "check_atomic_load, check_atomic_store (Linux 6.15)",
		check: func(t *T) {
			a := t.arena(2, 0)
			out := t.output()
			*a.word(1) = 40
			spec := t.spec(rawTracepoint, program(
				theMap(asm.R1, a.m), arg(asm.R7, 0), toKernel(asm.R7),
				atomically(asm.LoadAcquire(asm.R8, asm.R7, asm.DWord, 0)), out.put(0, asm.R8, asm.R1),
				asm.Add.Imm(asm.R8, 2), atomically(asm.StoreRelease(asm.R7, asm.R8, asm.DWord, 0)), ret(0),
			))
			p, err := t.k.load(spec)
			if err != nil && verifierMentions(err, "uses invalid atomic opcode") {
				t.missing("load-acquire", errors.New(verifierSays(err)))
			}
			t.must(err, "load")
			t.cleanup(func() { p.Close() })
			t.call(p, a.addr(1))
			equal(t, "loaded value", out.words()[0], 40)
			equal(t, "stored value", *a.word(1), 42)
		},
	},
)

// toUserAndBack has a program convert the address of page 1 to the kernel's and
// back to user space.
func (a *arena) toUserAndBack() uint64 {
	out := a.t.output()
	p := a.t.load(rawTracepoint, program(
		theMap(asm.R1, a.m), arg(asm.R7, 0), toKernel(asm.R7), toUser(asm.R7), out.put(0, asm.R7, asm.R1), ret(0),
	))
	a.t.call(p, a.addr(1))
	return out.words()[0]
}
