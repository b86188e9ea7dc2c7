package conform

import (
	"encoding/binary"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Tags of a pointer in a map's value: they tell the verifier what the pointer is (kernel/bpf/btf.c,
// btf_find_kptr).
const (
	kptrTag      = "kptr"           // a reference
	untrustedTag = "kptr_untrusted" // an address
)

// valueWith returns the type of a map's value with a tagged pointer to a struct.
func valueWith(tag, structName string) btf.Type {
	target := &btf.Struct{Name: structName, Size: 4, Members: []btf.Member{{Name: "x", Type: intType}}}
	return &btf.Struct{Name: "value", Size: 16, Members: []btf.Member{
		{Name: "pointer", Type: &btf.Pointer{Target: &btf.TypeTag{Type: target, Value: tag}}},
		{Name: "number", Type: &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}, Offset: 64},
	}}
}

var intType = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}

func kptrSpec(kind ebpf.MapType, tag, structName string) *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: "kptrs", Type: kind, KeySize: 4, ValueSize: 16, MaxEntries: 1,
		Key: intType, Value: valueWith(tag, structName),
	}
}

// numbered is a value with a number and no pointer.
func numbered(n uint64) []byte { return binary.NativeEndian.AppendUint64(make([]byte, 8), n) }

// watched is a map whose value holds a reference to a task, an array or, in some rules, a hash,
// with programs that set and read the reference. Its methods need a kernel that lets syscall
// programs call the functions for tasks.
type watched struct {
	t   *T
	m   *ebpf.Map
	out output
}

func (t *T) watched() watched {
	t.kfunc("bpf_task_from_pid") // the source of all references
	return watched{t, t.create(kptrSpec(ebpf.Array, kptrTag, "task_struct")), t.output()}
}

// field loads the address of the array's value.
func (w watched) field(r asm.Register) asm.Instruction { return asm.LoadMapValue(r, w.m.FD(), 0) }

// element loads the address of the value of a key, and jumps to none if there is no such key.
func (w watched) element(r asm.Register, key int64, none string) code {
	return code{
		asm.StoreImm(asm.R10, -4, key, asm.Word), theMap(asm.R1, w.m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, none), mov(r, asm.R0),
	}
}

// taskFromPID leaves in R0 a reference to the task with the pid in the first argument, and jumps to
// none if there is no such task.
func (t *T) taskFromPID(none string) code {
	return code{arg(asm.R1, 0), t.kfunc("bpf_task_from_pid"), asm.JEq.Imm(asm.R0, 0, none)}
}

// release releases the reference in r.
func (t *T) release(r asm.Register) code { return code{mov(asm.R1, r), t.kfunc("bpf_task_release")} }

// exchange puts the reference in r, or NULL, into the array's value and leaves the old one in R0.
func (w watched) exchange(r asm.Register) code {
	return code{w.field(asm.R1), mov(asm.R2, r), asm.FnKptrXchg.Call()}
}

// releaseOld releases what an exchange returned in R0, if anything.
func (t *T) releaseOld(then string) code {
	return join(asm.JEq.Imm(asm.R0, 0, then), t.release(asm.R0))
}

// watch puts the task with a pid into the array's value, by a program. It returns 1 if there is no
// such task.
func (w watched) watch(pid uint32) int32 { return w.watchAt(w.field(asm.R7), pid) }

// watchElement is watch for the value of a key. It returns 1 if there is no such key either.
func (w watched) watchElement(key int64, pid uint32) int32 {
	return w.watchAt(w.element(asm.R7, key, "none"), pid)
}

// watchAt is watch for the value whose address code loads into R7.
func (w watched) watchAt(address any, pid uint32) int32 {
	t := w.t
	return t.call(t.loadTask(program(
		address, t.taskFromPID("none"),
		mov(asm.R1, asm.R7), mov(asm.R2, asm.R0), asm.FnKptrXchg.Call(), t.releaseOld("done"),
		at("done", set(asm.R0, 0)), asm.Return(),
		at("none", set(asm.R0, 1)), asm.Return(),
	)), uint64(pid))
}

// loadTask loads a syscall program that calls functions for tasks, and ends the test if the kernel
// does not allow that.
func (t *T) loadTask(body code) *ebpf.Program {
	spec := t.spec(ebpf.Syscall, body)
	p, err := t.k.load(spec)
	if err != nil && verifierMentions(err, "calling kernel function bpf_task", "isn't referenced kptr") {
		t.missing("bpf_task_from_pid in syscall programs", err)
	}
	if err != nil {
		t.needHelpers(spec)
		t.differs("load: %s", verifierSays(err))
	}
	t.cleanup(func() { p.Close() })
	return p
}

// taken removes the task from the array's value, by a program, and returns its pid and 0, or 1 if
// there was none.
func (w watched) taken() (pid uint32, none int32) { return w.takenAt(w.field(asm.R7)) }

// takenFrom is taken for the value of a key. It returns 1 if there is no such key either.
func (w watched) takenFrom(key int64) (pid uint32, none int32) {
	return w.takenAt(w.element(asm.R7, key, "none"))
}

// takenAt is taken for the value whose address code loads into R7.
func (w watched) takenAt(address any) (pid uint32, none int32) {
	t := w.t
	none = t.call(t.loadTask(program(
		address, mov(asm.R1, asm.R7), set(asm.R2, 0), asm.FnKptrXchg.Call(), asm.JEq.Imm(asm.R0, 0, "none"), mov(asm.R7, asm.R0),
		asm.LoadMem(asm.R8, asm.R7, t.taskOffset("pid"), asm.Word), w.out.put(0, asm.R8, asm.R1),
		t.release(asm.R7), ret(0),
		at("none", set(asm.R0, 1)), asm.Return(),
	)))
	return uint32(w.out.words()[0]), none
}

// references returns a function that counts the references to the task with a pid, without that of
// its own program.
func (t *T) references(pid uint32) func() uint64 {
	out := t.output()
	p := t.loadTask(program(
		t.taskFromPID("none"), mov(asm.R7, asm.R0),
		asm.LoadMem(asm.R8, asm.R7, t.taskOffset("rcu_users"), asm.Word), asm.Sub.Imm(asm.R8, 1),
		out.put(0, asm.R8, asm.R1), t.release(asm.R7), ret(0),
		at("none", set(asm.R0, 1)), asm.Return(),
	))
	return func() uint64 {
		equal(t, "no task", t.call(p, uint64(pid)), 0)
		return out.words()[0]
	}
}

// taskOffset returns the offset of a member of struct task_struct in this kernel.
func (t *T) taskOffset(member string) int16 {
	types, err := kernelTypes().Kernel()
	t.must(err, "read kernel BTF")
	var task *btf.Struct
	t.must(types.TypeByName("task_struct", &task), "find task_struct")
	offset, found := offsetOf(task.Members, member)
	if !found {
		t.differs("task_struct has no member %s", member)
	}
	return int16(offset)
}

// offsetOf searches anonymous members too.
func offsetOf(members []btf.Member, name string) (offset uint32, found bool) {
	for _, m := range members {
		if m.Name == name {
			return m.Offset.Bytes(), true
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch typ := m.Type.(type) {
		case *btf.Struct:
			inner = typ.Members
		case *btf.Union:
			inner = typ.Members
		}
		if o, ok := offsetOf(inner, name); ok {
			return m.Offset.Bytes() + o, true
		}
	}
	return 0, false
}

// thread runs a thread until end is called, and returns its pid.
func (t *T) thread() (pid uint32, end func()) {
	p := t.load(rawTracepoint, program(asm.FnGetCurrentPidTgid.Call(), asm.Return()))
	pids, stop, ended := make(chan uint32, 1), make(chan struct{}), make(chan int, 1)
	var run func()
	run = func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		tid := unix.Gettid()
		if tid == unix.Getpid() {
			// Not the main thread, which does not end: take another one while this is busy.
			defer runtime.UnlockOSThread()
			go run()
			<-stop
			return
		}
		ret, _ := t.k.run(p, &ebpf.RunOptions{})
		pids <- ret
		<-stop
		ended <- tid
	}
	go run()
	pid = <-pids
	over := false
	end = func() {
		if over {
			return
		}
		over = true
		close(stop)
		tid := <-ended
		t.eventually("the thread has ended", func() bool { return unix.Tgkill(unix.Getpid(), tid, 0) == unix.ESRCH })
	}
	t.cleanup(end)
	if pid == 0 {
		t.differs("no pid of a thread")
	}
	return pid, end
}
