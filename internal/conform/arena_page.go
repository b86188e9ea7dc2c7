package conform

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/mapflag"
)

var _ = register(Arena,
	Rule{
		Name:      "shared",
		Statement: "A program and a process see each other's writes at the same user address.",
		Source:    arenaSource + "head comment (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, 0)
			peek, poke := a.peeker(), a.poker()
			*a.word(1) = 41
			equal(t, "what the program reads", peek(a.addr(1)), 41)
			poke(a.addr(1), 42)
			equal(t, "what the process reads", *a.word(1), 42)
		},
	},
	Rule{
		Name:      "fault-allocates",
		Statement: "A process that touches an absent page gets one, filled with zeros.",
		Source:    arenaSource + "arena_vm_fault (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, 0)
			t.must(a.touch(1), "touch page")
			equal(t, "first word", *a.word(1), 0)
			poke := a.poker()
			poke(a.addr(1), 1)
			equal(t, "first word after the program's write", *a.word(1), 1)
		},
	},
	Rule{
		Name:      "segv-on-fault",
		Statement: "With BPF_F_SEGV_ON_FAULT an access to an absent page raises SIGSEGV, or makes a system call fail with EFAULT.",
		Source:    arenaSource + "arena_vm_fault (Linux 6.9)",
		check: func(t *T) {
			t.fails("touch page", t.arena(2, mapflag.SegvOnFault).touch(1), unix.EFAULT)
		},
	},
	Rule{
		Name:      "absent-reads-zero",
		Statement: "A program that reads an absent page reads 0 and continues; the page stays absent.",
		Source:    "kernel/bpf/core.c, bpf_arena_handle_page_fault; arch/x86/net/bpf_jit_comp.c, ex_handler_bpf (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, mapflag.SegvOnFault)
			equal(t, "what the program reads", a.peeker()(a.addr(1)), 0)
			t.fails("touch page", a.touch(1), unix.EFAULT)
		},
	},
	Rule{
		Name:      "absent-write-dropped",
		Statement: "A program's write to an absent page is lost, and the page stays absent.",
		Source:    "arch/x86/net/bpf_jit_comp.c, ex_handler_bpf (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, 0)
			poke := a.poker()
			poke(a.addr(1), 1)
			equal(t, "what the process reads", *a.word(1), 0)
			poke(a.addr(1), 2)
			equal(t, "what the process reads after it has touched the page", *a.word(1), 2)
		},
	},
	Rule{
		Name:      "alloc",
		Statement: "bpf_arena_alloc_pages returns a sleepable program the user address of new pages.",
		Source:    arenaSource + "bpf_arena_alloc_pages (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(4, mapflag.SegvOnFault)
			addr := a.allocator()(0, 2)
			if addr < a.base || addr+uint64(2*page) > a.addr(4) || addr%uint64(page) != 0 {
				t.differs("address %#x, not two pages of the arena at %#x", addr, a.base)
			}
			first := int(addr-a.base) / page
			t.must(a.touch(first), "touch first page")
			t.must(a.touch(first+1), "touch second page")
		},
	},
	Rule{
		Name:      "alloc-at",
		Statement: "bpf_arena_alloc_pages for an address returns that address, or NULL if a page there is already allocated.",
		Source:    arenaSource + "arena_alloc_pages (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(4, mapflag.SegvOnFault)
			alloc := a.allocator()
			equal(t, "address", alloc(a.addr(2), 1), a.addr(2))
			equal(t, "address of the same page again", alloc(a.addr(2), 1), 0)
			equal(t, "address of pages of which one is taken", alloc(a.addr(1), 2), 0)
			t.fails("touch page that was not allocated", a.touch(1), unix.EFAULT)
		},
	},
	Rule{
		Name:      "alloc-limit",
		Statement: "bpf_arena_alloc_pages of more pages than are free returns NULL.",
		Source:    arenaSource + "arena_alloc_pages (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(4, 0)
			alloc := a.allocator()
			equal(t, "address of five pages", alloc(0, 5), 0)
			equal(t, "address of four pages", alloc(0, 4), a.base)
			equal(t, "address of one more", alloc(0, 1), 0)
		},
	},
	Rule{
		Name:      "free",
		Statement: "bpf_arena_free_pages removes the pages from the mappings of processes, and they can be allocated again.",
		Source:    arenaSource + "arena_free_pages (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(4, mapflag.SegvOnFault)
			alloc, free := a.allocator(), a.freer()
			equal(t, "address", alloc(a.addr(1), 1), a.addr(1))
			*a.word(1) = 5
			free(a.addr(1), 1)
			t.fails("touch freed page", a.touch(1), unix.EFAULT)
			equal(t, "address again", alloc(a.addr(1), 1), a.addr(1))
			equal(t, "first word of the new page", *a.word(1), 0)
		},
	},
	Rule{
		Name:      "alloc-anywhere",
		Statement: "A program that is not sleepable can call bpf_arena_alloc_pages.",
		Source:    arenaSource + "bpf_arena_alloc_pages_non_sleepable (Linux 7.0)",
		check: func(t *T) {
			a := t.arena(4, 0)
			out := t.output()
			spec := t.spec(rawTracepoint, a.allocates(out))
			p, err := t.k.load(spec)
			if err != nil && verifierMentions(err, "program must be sleepable to call sleepable kfunc bpf_arena_alloc_pages",
				"calling kernel function bpf_arena_alloc_pages is not allowed") {
				t.no("the verifier allows the call only in sleepable programs")
			}
			t.must(err, "load")
			t.cleanup(func() { p.Close() })
			t.call(p, a.addr(1), 1)
			equal(t, "address", out.words()[0], a.addr(1))
		},
	},
	Rule{
		Name:      "reserve",
		Statement: "bpf_arena_reserve_pages keeps pages from being allocated.",
		Source:    arenaSource + "bpf_arena_reserve_pages (Linux 6.17)",
		check: func(t *T) {
			a := t.arena(4, 0)
			out := t.output()
			p := t.load(ebpf.Syscall, program(
				theMap(asm.R1, a.m), arg(asm.R2, 0), arg(asm.R3, 1), t.kfunc("bpf_arena_reserve_pages"),
				out.put(0, asm.R0, asm.R1), ret(0),
			))
			t.call(p, a.addr(1), 2)
			equal(t, "result", int32(out.words()[0]), 0)
			alloc := a.allocator()
			equal(t, "address of a reserved page", alloc(a.addr(2), 1), 0)
			equal(t, "address of the page behind it", alloc(a.addr(3), 1), a.addr(3))
		},
	},
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
		Statement: "An addr_space_cast to user space returns the full user address.",
		Source:    verifier + "do_misc_fixups; arch/x86/net/bpf_jit_comp.c (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, 0)
			equal(t, "address", a.toUserAndBack(), a.addr(1))
		},
	},
	Rule{
		Name:      "no-user-conv",
		Statement: "With BPF_F_NO_USER_CONV an addr_space_cast to user space returns the lower 32 bits only.",
		Source:    verifier + "check_alu_op (Linux 6.9)",
		check: func(t *T) {
			a := t.arena(2, mapflag.NoUserConv)
			equal(t, "address", a.toUserAndBack(), a.addr(1)&(window-1))
		},
	},
	Rule{
		Name:      "atomics",
		Statement: "Atomic instructions work in an arena, and those with BPF_FETCH return the old value.",
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

// toUserAndBack runs a program that converts the user address of page 1 to a kernel address and back, and
// returns the result.
func (a *arena) toUserAndBack() uint64 {
	out := a.t.output()
	p := a.t.load(rawTracepoint, program(
		theMap(asm.R1, a.m), arg(asm.R7, 0), toKernel(asm.R7), toUser(asm.R7), out.put(0, asm.R7, asm.R1), ret(0),
	))
	a.t.call(p, a.addr(1))
	return out.words()[0]
}
