package conform

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const progArraySource = "kernel/bpf/arraymap.c, "

var _ = register(ProgArray,
	Rule{
		Name:      "tail-call",
		Statement: "A tail call continues in the program of that slot and does not return.",
		Source:    "include/uapi/linux/bpf.h, bpf_tail_call",
		check: func(t *T) {
			a := t.progArray()
			a.put(1, a.returning(11))
			equal(t, "result", t.call(a.caller(), 1), 11)
		},
	},
	Rule{
		Name:      "empty-slot",
		Statement: "A tail call to an empty slot, or to a slot beyond the array, continues after the call.",
		Source:    "include/uapi/linux/bpf.h, bpf_tail_call",
		check: func(t *T) {
			a := t.progArray()
			a.put(1, a.returning(11))
			caller := a.caller()
			equal(t, "result of an empty slot", t.call(caller, 0), fellThrough)
			equal(t, "result of a slot beyond the array", t.call(caller, 100), fellThrough)
		},
	},
	Rule{
		Name:      "replace",
		Statement: "A program in a slot can be replaced while others call it.",
		Source:    progArraySource + "bpf_fd_array_map_update_elem",
		check: func(t *T) {
			a := t.progArray()
			caller := a.caller()
			for _, v := range []int32{11, 12} {
				a.put(1, a.returning(v))
				equal(t, "result", t.call(caller, 1), v)
			}
			t.must(a.m.Delete(uint32(1)), "delete")
			equal(t, "result after a delete", t.call(caller, 1), fellThrough)
		},
	},
	Rule{
		Name:      "limit",
		Statement: "A program can make 33 tail calls in a row; the next one continues after the call.",
		Source:    "include/linux/bpf.h, MAX_TAIL_CALL_CNT",
		check: func(t *T) {
			a := t.progArray()
			out := t.output()
			p := t.load(rawTracepoint, program(
				count(out), mov(asm.R1, asm.R6), theMap(asm.R2, a.m), set(asm.R3, 0), asm.FnTailCall.Call(), ret(fellThrough),
			))
			a.put(0, p)
			equal(t, "result", t.call(p), fellThrough)
			equal(t, "runs of the program that calls itself", out.words()[drainCalls], 34)
		},
	},
	Rule{
		Name:      "one-type",
		Statement: "A program of another type than those that use the array is refused in a slot with EINVAL.",
		Source:    "kernel/bpf/core.c, __bpf_prog_map_compatible",
		check: func(t *T) {
			a := t.progArray()
			a.caller()
			other := t.load(ebpf.SocketFilter, program(ret(0)))
			t.fails("put socket filter", a.m.Put(uint32(0), other), unix.EINVAL)
		},
	},
	Rule{
		Name:      "lookup-gives-id",
		Statement: "Lookup from user space returns the program's id.",
		Source:    progArraySource + "prog_fd_array_sys_lookup_elem",
		check: func(t *T) {
			a := t.progArray()
			p := a.returning(1)
			a.put(1, p)
			var id uint32
			t.must(a.m.Lookup(uint32(1), &id), "lookup")
			info, err := p.Info()
			t.must(err, "ask for the program's id")
			want, _ := info.ID()
			equal(t, "id", id, uint32(want))
		},
	},
	Rule{
		Name:      "cleared-without-user",
		Statement: "The kernel empties an array when its last descriptor and pin are gone, even if programs refer to it.",
		Source:    progArraySource + "prog_array_map_clear; kernel/bpf/syscall.c, bpf_map_put_uref",
		check: func(t *T) {
			a := t.progArray()
			a.put(1, a.returning(11))
			caller := a.caller()
			equal(t, "result", t.call(caller, 1), 11)
			t.must(a.m.Close(), "close")
			t.eventually("the slot is empty", func() bool { return t.call(caller, 1) == fellThrough })
		},
	},
	Rule{
		Name:      "kept-while-pinned",
		Statement: "A pin keeps the programs in an array whose last descriptor is gone.",
		Source:    "kernel/bpf/inode.c, bpf_any_get",
		check: func(t *T) {
			fs := t.bpffs()
			pinned, not := t.progArray(), t.progArray()
			pinned.put(1, pinned.returning(11))
			not.put(1, not.returning(12))
			caller, other := pinned.caller(), not.caller()
			t.must(fs.pin(pinned.m, "array"), "pin")
			t.must(errors.Join(pinned.m.Close(), not.m.Close()), "close")
			// The kernel's worker empties arrays in order: when the other array, which is not pinned, is empty,
			// the pinned one would be empty too.
			t.eventually("the slot of the array that is not pinned is empty", func() bool { return t.call(other, 1) == fellThrough })
			equal(t, "result", t.call(caller, 1), 11)
		},
	},
)

const fellThrough = 77

type progArray struct {
	t *T
	m *ebpf.Map
}

func (t *T) progArray() progArray {
	return progArray{t, t.create(&ebpf.MapSpec{Name: "prog_array", Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 4})}
}

func (a progArray) put(slot uint32, p *ebpf.Program) { a.t.must(a.m.Put(slot, p), "put program") }

func (a progArray) returning(v int32) *ebpf.Program { return a.t.load(rawTracepoint, program(ret(v))) }

// caller loads a program that makes a tail call to the slot in its argument.
func (a progArray) caller() *ebpf.Program {
	return a.t.load(rawTracepoint, program(
		arg(asm.R3, 0), mov(asm.R1, asm.R6), theMap(asm.R2, a.m), asm.FnTailCall.Call(), ret(fellThrough),
	))
}

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
		Statement: "The kernel does not run a tracing program again for an event that the program itself causes.",
		Source:    "kernel/bpf/trampoline.c, __bpf_prog_enter_recur (Linux 5.12)",
		check: func(t *T) {
			if deepest := t.updated(1).out.words()[hookDeepest]; deepest != 1 {
				t.no("the program runs inside itself, here to a depth of %d at which it stops", deepest)
			}
		},
	},
	Rule{
		Name:      "misses-counted",
		Statement: "The program's recursion_misses count the runs that the kernel skipped.",
		Source:    "kernel/bpf/trampoline.c, bpf_prog_inc_misses_counter (Linux 5.12)",
		check: func(t *T) {
			h := t.updated(3)
			stats, err := h.p.Stats()
			t.must(err, "read the program's statistics")
			runs := h.out.words()[hookRuns]
			if runs != 3 {
				t.no("the kernel skips no run: %d runs for 3 updates", runs)
			}
			// There can be more than 3: another process can update a hash at the same time, on another CPU.
			t.within("recursion_misses", int64(stats.RecursionMisses), 3, 1000)
		},
	},
)

// Words of the hook's output.
const (
	hookRuns = iota // number of runs
	hookDepthNow
	hookDeepest
	hookResult // result of the program's own update
)

const (
	hookKey   = 9
	hookDepth = 3 // nesting depth at which the program stops
)

type hook struct {
	m   *ebpf.Map
	p   *ebpf.Program
	out output
}

// updated makes n updates of a hooked hash. It tries again until the program has run for each of them.
func (t *T) updated(n uint64) hook {
	const tries = 10
	for try := 1; ; try++ {
		h := t.hooked()
		for range n {
			t.must(h.m.Put(uint32(5), uint64(50)), "update")
		}
		// The kernel does not run a program that is already running on this CPU: if another process's
		// update is preempted inside the program, the program does not run for updates of this process.
		if h.out.words()[hookRuns] >= n || try == tries {
			return h
		}
	}
}

// hooked creates a hash and a program that runs at each update of the hash. The program updates a key
// itself. On a kernel that runs the program again for this update, it stops at hookDepth, before the stack
// overflows.
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
