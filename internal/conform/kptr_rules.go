package conform

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

const xchgSource = "kernel/bpf/helpers.c, bpf_kptr_xchg"

// cancelled is the first release in which updates and deletes do not release references, since that
// is not possible in an NMI (commit a3a81d247651). Before, they called bpf_obj_free_fields.
const cancelled = " (Linux 7.2; 7.1.5)"

// notReferenced has the verifier's messages about bpf_task_release of a pointer that is not a
// reference: in Linux 7.2, and before.
var notReferenced = []string{
	"release kfunc bpf_task_release expects referenced PTR_TO_BTF_ID passed to R1",
	"R1 must be referenced or trusted",
}

var _ = register(Kptr,
	Rule{
		Name:      "exchange",
		Statement: "bpf_kptr_xchg puts a reference to a task into a map's value, and another program takes it out.",
		Source:    xchgSource + " (Linux 5.19; tasks 6.2)",
		check: func(t *T) {
			w := t.watched()
			pid, _ := t.thread()
			equal(t, "no task", w.watch(pid), 0)
			got, none := w.taken()
			equal(t, "nothing in the value", none, 0)
			equal(t, "pid of the task in the value", got, pid)
			_, none = w.taken()
			equal(t, "nothing in the value after it was taken", none, 1)
		},
	},
	Rule{
		Name:      "held",
		Statement: "A reference in a map keeps the task after it has ended, when its pid leads to nothing any more.",
		Source:    "kernel/bpf/helpers.c, bpf_task_from_pid, bpf_task_acquire (Linux 6.2)",
		check: func(t *T) {
			w := t.watched()
			pid, end := t.thread()
			equal(t, "no task", w.watch(pid), 0)
			end()
			other := t.watched()
			t.eventually("the pid leads to nothing", func() bool { return other.watch(pid) == 1 })
			got, none := w.taken()
			equal(t, "nothing in the value", none, 0)
			equal(t, "pid of the task in the value", got, pid)
		},
	},
	Rule{
		Name:      "counted",
		Statement: "A reference in a map is one: the task's count is higher by it, until it is taken out and released.",
		Source:    "kernel/bpf/helpers.c, bpf_task_release (Linux 6.2)",
		check: func(t *T) {
			w := t.watched()
			pid, _ := t.thread()
			refs := t.references(pid)
			before := refs()
			w.watch(pid)
			equal(t, "references with one in a map", refs(), before+1)
			w.taken()
			equal(t, "references after it was taken", refs(), before)
		},
	},
	Rule{
		Name:      "kept-by-update",
		Statement: "An update from user space changes the rest of the value and leaves the reference where it is.",
		Source:    "kernel/bpf/arraymap.c, array_map_update_elem: bpf_obj_cancel_fields" + cancelled,
		check: func(t *T) {
			w := t.watched()
			pid, _ := t.thread()
			refs := t.references(pid)
			before := refs()
			equal(t, "no task", w.watch(pid), 0)
			equal(t, "references with one in a map", refs(), before+1)
			t.must(w.m.Put(uint32(0), numbered(7)), "update")
			var b []byte
			t.must(w.m.Lookup(uint32(0), &b), "lookup")
			equal(t, "number in the value", binary.NativeEndian.Uint64(b[8:]), 7)
			got, none := w.taken()
			equal(t, "references after it was taken", refs(), before)
			if none == 1 {
				t.no("the update releases it, and the value has none")
			}
			equal(t, "pid of the task in the value", got, pid)
		},
	},
	Rule{
		Name: "kept-by-delete",
		Statement: "The delete of an element of a preallocated hash leaves the reference in its memory: " +
			"the next element there has it.",
		Source: hashSource + "free_htab_elem: bpf_obj_cancel_fields" + cancelled,
		check: func(t *T) {
			w := t.watched()
			w.m = t.create(kptrSpec(ebpf.Hash, kptrTag, "task_struct"))
			pid, _ := t.thread()
			refs := t.references(pid)
			before := refs()
			t.must(w.m.Put(uint32(1), numbered(0)), "update")
			equal(t, "what the program found missing", w.watchElement(1, pid), 0)
			equal(t, "references with one in a map", refs(), before+1)
			t.must(w.m.Delete(uint32(1)), "delete")
			deleted := refs()
			t.must(w.m.Put(uint32(2), numbered(0)), "update of another key")
			got, none := w.takenFrom(2)
			equal(t, "references after it was taken", refs(), before)
			if deleted == before && none == 1 {
				t.no("the delete releases it, and the next element has none")
			}
			equal(t, "references after the delete", deleted, before+1)
			equal(t, "pid of the task in the next element", got, pid)
		},
	},
	Rule{
		Name:      "released-with-map",
		Statement: "The end of the map releases the references in it.",
		Source:    "kernel/bpf/arraymap.c, array_map_free; kernel/bpf/syscall.c, bpf_map_free_deferred (Linux 5.19)",
		check: func(t *T) {
			pid, _ := t.thread()
			refs := t.references(pid)
			before := refs()
			inner := &T{k: t.k, patience: t.patience}
			t.cleanup(inner.clean)
			w := watched{inner, t.watched().m, t.output()}
			equal(t, "no task", w.watch(pid), 0)
			equal(t, "references with one in a map", refs(), before+1)
			t.must(w.m.Close(), "close map")
			inner.clean() // the program that refers to it
			t.eventually("the reference is released", func() bool { return refs() == before })
		},
	},
	Rule{
		Name:      "hidden",
		Statement: "User space sees 0 in place of the pointer.",
		Source:    "kernel/bpf/syscall.c, bpf_map_copy_value; include/linux/bpf.h, zero_map_value (Linux 5.19)",
		check: func(t *T) {
			w := t.watched()
			pid, _ := t.thread()
			equal(t, "no task", w.watch(pid), 0)
			var b []byte
			t.must(w.m.Lookup(uint32(0), &b), "lookup")
			equal(t, "pointer", binary.NativeEndian.Uint64(b), 0)
			got, _ := w.taken()
			equal(t, "pid of the task that is there", got, pid)
		},
	},
	Rule{
		Name:      "no-task",
		Statement: "bpf_task_from_pid gives NULL for a pid that nobody has.",
		Source:    "kernel/bpf/helpers.c, bpf_task_from_pid (Linux 6.2)",
		check: func(t *T) {
			w := t.watched()
			pid, _ := t.thread()
			equal(t, "no task for a pid beyond all", w.watch(1<<30), 1)
			equal(t, "no task for a thread's pid", w.watch(pid), 0)
		},
	},
	Rule{
		Name:      "verifier-leak",
		Statement: "A program that ends with a task neither released nor put into a map is refused.",
		Source:    verifier + "check_reference_leak (Linux 6.2)",
		check: func(t *T) {
			t.refusedTask(program(t.taskFromPID("none"), ret(0), at("none", set(asm.R0, 1)), asm.Return()),
				"Unreleased reference")
		},
	},
	Rule{
		Name:      "verifier-null",
		Statement: "A task that was not compared with NULL cannot be released.",
		Source:    verifier + "check_kfunc_args (Linux 6.2)",
		check: func(t *T) {
			t.refusedTask(program(arg(asm.R1, 0), t.kfunc("bpf_task_from_pid"), t.release(asm.R0), ret(0)),
				"Possibly NULL pointer passed to")
		},
	},
	Rule{
		Name:      "verifier-read-not-owned",
		Statement: "A pointer that is read from the value, not taken out, is no reference: it cannot be released.",
		Source:    verifier + "check_kfunc_args (Linux 6.2)",
		check: func(t *T) {
			w := t.watched()
			t.refusedTask(program(
				w.field(asm.R7), asm.LoadMem(asm.R1, asm.R7, 0, asm.DWord), asm.JEq.Imm(asm.R1, 0, "none"),
				t.kfunc("bpf_task_release"), at("none", set(asm.R0, 0)), asm.Return(),
			), notReferenced...)
		},
	},
	Rule{
		Name:      "verifier-read-untrusted",
		Statement: "Outside of an RCU section a pointer that is read from the value is not trusted: bpf_task_acquire is refused.",
		Source:    verifier + "check_kfunc_args: KF_RCU (Linux 6.2)",
		check: func(t *T) {
			w := t.watched()
			t.refusedTask(program(
				w.field(asm.R7), asm.LoadMem(asm.R1, asm.R7, 0, asm.DWord), asm.JEq.Imm(asm.R1, 0, "none"),
				t.kfunc("bpf_task_acquire"), asm.JEq.Imm(asm.R0, 0, "none"), t.release(asm.R0),
				at("none", set(asm.R0, 0)), asm.Return(),
			), "R1 must be a rcu pointer", "R1 must be referenced or trusted", "must be a rcu pointer", "trusted or RCU")
		},
	},
	Rule{
		Name:      "verifier-no-store",
		Statement: "A store into the place of a reference is refused: bpf_kptr_xchg is the only way.",
		Source:    verifier + "check_map_kptr_access (Linux 5.19)",
		check: func(t *T) {
			w := t.watched()
			t.refusedTask(program(w.field(asm.R7), t.taskFromPID("none"), mov(asm.R8, asm.R0),
				asm.StoreMem(asm.R7, 0, asm.R8, asm.DWord), t.release(asm.R8), ret(0),
				at("none", set(asm.R0, 1)), asm.Return(),
			), "store to referenced kptr disallowed")
		},
	},
	Rule{
		Name:      "verifier-type",
		Statement: "A task does not go into a place for another type.",
		Source:    verifier + "map_kptr_match_type (Linux 5.19)",
		check: func(t *T) {
			w := t.watched()
			w.m = t.create(kptrSpec(ebpf.Array, kptrTag, "cgroup"))
			t.refusedTask(program(t.taskFromPID("none"), w.exchange(asm.R0), t.releaseOld("done"),
				at("done", set(asm.R0, 0)), asm.Return(), at("none", set(asm.R0, 1)), asm.Return(),
			), "invalid kptr access, R2 type=ptr_", "invalid kptr access, R2 type=trusted_ptr_", "kptr access, R2")
		},
	},
	Rule{
		Name:      "unreferenced",
		Statement: "The place of a kptr_untrusted takes an address by a store, holds no reference, and its pointer cannot be released.",
		Source:    verifier + "check_map_kptr_access; kernel/bpf/btf.c, btf_find_kptr (Linux 5.19; the name 6.3)",
		check: func(t *T) {
			w := t.watched()
			w.m = t.create(kptrSpec(ebpf.Array, untrustedTag, "task_struct"))
			pid, _ := t.thread()
			refs := t.references(pid)
			before := refs()
			p := t.loadTask(program(w.field(asm.R7), t.taskFromPID("none"), mov(asm.R8, asm.R0),
				asm.StoreMem(asm.R7, 0, asm.R8, asm.DWord), t.release(asm.R8), ret(0),
				at("none", set(asm.R0, 1)), asm.Return(),
			))
			equal(t, "no task", t.call(p, uint64(pid)), 0)
			equal(t, "references with the address in a map", refs(), before)
			t.refusedTask(program(
				w.field(asm.R7), asm.LoadMem(asm.R1, asm.R7, 0, asm.DWord), asm.JEq.Imm(asm.R1, 0, "none"),
				t.kfunc("bpf_task_release"), at("none", set(asm.R0, 0)), asm.Return(),
			), notReferenced...)
		},
	},
)

// refusedTask is refused for a syscall program that calls functions for tasks.
func (t *T) refusedTask(body code, messages ...string) {
	// If the kernel lacks the functions, that is not a refusal: a correct program with them must
	// load.
	t.loadTask(program(t.taskFromPID("none"), t.release(asm.R0), ret(0), at("none", set(asm.R0, 1)), asm.Return()))
	t.refused(ebpf.Syscall, body, messages...)
}
