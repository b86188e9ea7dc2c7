package conform

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

var _ = register(Recursion,
	Rule{
		Name:      "update-in-update",
		Statement: "A program on a hash's own update path that updates the same key does not deadlock: both updates are made.",
		Source:    "kernel/bpf/hashtab.c, htab_map_update_elem",
		check: func(t *T) {
			h := t.updated(1)
			w := h.out.words()
			equal(t, "result of the program's update", int32(w[hookResult]), 0)
			var value uint64
			t.must(h.m.Lookup(uint32(5), &value), "lookup")
			equal(t, "value, which the outer update wrote last", value, 50)
			t.must(h.m.Lookup(uint32(hookKey), &value), "lookup of the program's own key")
			equal(t, "value of the program's own key", value, 7)
		},
	},
	Rule{
		Name:      "not-nested",
		Statement: "A tracing program is not run again by what it does itself.",
		Source:    "kernel/bpf/trampoline.c, __bpf_prog_enter_recur (Linux 5.12)",
		check: func(t *T) {
			if deepest := t.updated(1).out.words()[hookDeepest]; deepest != 1 {
				t.no("the program runs inside itself, here to a depth of %d where it stops by itself", deepest)
			}
		},
	},
	Rule{
		Name:      "misses-counted",
		Statement: "The runs that were left out are the program's recursion_misses.",
		Source:    "kernel/bpf/trampoline.c, bpf_prog_inc_misses_counter (Linux 5.12)",
		check: func(t *T) {
			h := t.updated(3)
			stats, err := h.p.Stats()
			t.must(err, "ask for the program's statistics")
			runs := h.out.words()[hookRuns]
			if runs != 3 {
				t.no("nothing is left out: %d runs for 3 updates", runs)
			}
			// Another process may update a hash at the same time, on another CPU.
			t.within("recursion_misses", int64(stats.RecursionMisses), 3, 1000)
		},
	},
)

// Words of the hook's output.
const (
	hookRuns = iota // how often it ran
	hookDepthNow
	hookDeepest
	hookResult // of its own update
)

const (
	hookKey   = 9
	hookDepth = 3 // where it stops to call itself
)

type hook struct {
	m   *ebpf.Map
	p   *ebpf.Program
	out output
}

// updated makes n updates of a hash that is hooked, each of which the program has seen.
func (t *T) updated(n uint64) hook {
	const tries = 10
	for try := 1; ; try++ {
		h := t.hooked()
		for range n {
			t.must(h.m.Put(uint32(5), uint64(50)), "update")
		}
		// While another process's update has the program run on this CPU and is
		// preempted, this process's updates are left out.
		if h.out.words()[hookRuns] >= n || try == tries {
			return h
		}
	}
}

// hooked makes a hash and a program that runs whenever it is updated. The
// program updates a key of its own, which would have it run again: a kernel that
// lets it would overflow its stack, so it stops by itself at hookDepth.
func (t *T) hooked() hook {
	m, out := t.create(hashSpec(16, 0)), t.output()
	on := func(i uint32, change int32) code {
		return code{
			out.addr(asm.R1, i), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
			asm.Add.Imm(asm.R2, change), asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
		}
	}
	spec := t.spec(ebpf.Tracing, program(
		arg(asm.R1, 0), theMap(asm.R2, m), asm.JNE.Reg(asm.R1, asm.R2, "end"),
		on(hookRuns, 1), on(hookDepthNow, 1),
		mov(asm.R7, asm.R2), out.addr(asm.R1, hookDeepest), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.JGE.Reg(asm.R2, asm.R7, "deep"), asm.StoreMem(asm.R1, 0, asm.R7, asm.DWord),
		at("deep", asm.JGE.Imm(asm.R7, hookDepth, "leave")),
		asm.StoreImm(asm.R10, -4, hookKey, asm.Word), asm.StoreImm(asm.R10, -16, 7, asm.Word), asm.StoreImm(asm.R10, -12, 0, asm.Word),
		theMap(asm.R1, m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), mov(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -16),
		set(asm.R4, 0), asm.FnMapUpdateElem.Call(),
		out.put(hookResult, asm.R0, asm.R1),
		at("leave", set(asm.R1, 0)),
		on(hookDepthNow, -1), at("end", set(asm.R0, 0)), asm.Return(),
	))
	spec.AttachType, spec.AttachTo = ebpf.AttachTraceFEntry, "htab_map_update_elem"
	p, err := t.k.load(spec)
	if errors.Is(err, unix.EPERM) || errors.Is(err, ebpf.ErrNotSupported) {
		t.missing("fentry", err)
	}
	if err != nil {
		t.differs("load: %s", verifierSays(err))
	}
	t.cleanup(func() { p.Close() })
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		t.missing("fentry", err)
	}
	t.cleanup(func() { l.Close() })
	return hook{m, p, out}
}
