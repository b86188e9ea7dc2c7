package conform

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

const xchgSource = "kernel/bpf/helpers.c, bpf_kptr_xchg"

// cancelled names the releases with commit a3a81d247651. Since then updates and deletes do not release
// references, because that is not possible in an NMI. Before, they called bpf_obj_free_fields.
const cancelled = " (Linux 7.2; 7.1.5)"

// notReferenced has the verifier's messages, of Linux 7.2 and of earlier releases, about
// bpf_task_release of a pointer that is not a reference.
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
		Statement: "A reference in a map keeps a task_struct after the task has ended and its pid can no longer be found.",
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
		Statement: "A reference in a map counts in the task's reference count until it is taken out and released.",
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
		Statement: "An update from user space changes the rest of the value and does not change the reference.",
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
				t.no("the update releases the reference, and the value has none afterwards")
			}
			equal(t, "pid of the task in the value", got, pid)
		},
	},
	Rule{
		Name: "kept-by-delete",
		Statement: "The delete of an element of a preallocated hash does not release the reference in the element: " +
			"the next element in the same memory has it.",
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
				t.no("the delete releases the reference, and the next element has none")
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
			inner.clean() // closes the program that refers to the map
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
		Statement: "bpf_task_from_pid returns NULL for a pid that no task has.",
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
		Statement: "A pointer that is read from the value, not taken out, is not a reference: it cannot be released.",
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
		Statement: "A store to a kptr field is refused: only bpf_kptr_xchg can change it.",
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
		Statement: "A reference to a task is refused in a kptr field of another type.",
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
		Statement: "A kptr_untrusted field accepts an address by a store; it holds no reference, and its pointer cannot be released.",
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

// refusedTask is like refused, for a syscall program that calls kfuncs for tasks.
func (t *T) refusedTask(body code, messages ...string) {
	// A correct program with these kfuncs must load. Otherwise the kernel lacks the kfuncs, which is not
	// a refusal.
	t.loadTask(program(t.taskFromPID("none"), t.release(asm.R0), ret(0), at("none", set(asm.R0, 1)), asm.Return()))
	t.refused(ebpf.Syscall, body, messages...)
}
