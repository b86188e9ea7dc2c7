package conform

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

const progArraySource = "kernel/bpf/arraymap.c, "

var _ = register(ProgArray,
	Rule{
		Name:      "tail-call",
		Statement: "A tail call goes on in the program of that slot and does not come back.",
		Source:    "include/uapi/linux/bpf.h, bpf_tail_call",
		check: func(t *T) {
			a := t.progArray()
			a.put(1, a.returning(11))
			equal(t, "result", t.call(a.caller(), 1), 11)
		},
	},
	Rule{
		Name:      "empty-slot",
		Statement: "A tail call to an empty slot, or to one beyond the array, goes on behind the call.",
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
		Statement: "A program can make 33 tail calls in a row; the next one goes on behind the call.",
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
		Statement: "A slot takes no program of another type than those that use the array: EINVAL.",
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
		Statement: "Lookup from user space gives the program's id.",
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
		Statement: "When the last descriptor and pin of an array are gone it is emptied, though programs refer to it.",
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
			// The worker that would empty the first would do so before the second.
			t.eventually("the slot of the other is empty", func() bool { return t.call(other, 1) == fellThrough })
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

// caller is a program that makes a tail call to the slot in its argument.
func (a progArray) caller() *ebpf.Program {
	return a.t.load(rawTracepoint, program(
		arg(asm.R3, 0), mov(asm.R1, asm.R6), theMap(asm.R2, a.m), asm.FnTailCall.Call(), ret(fellThrough),
	))
}
