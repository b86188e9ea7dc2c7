package conform

import (
	"encoding/binary"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// BTF type tags of a pointer in a map's value, which tell the verifier what the pointer is
// (kernel/bpf/btf.c, btf_find_kptr).
const (
	kptrTag      = "kptr"           // a counted reference
	untrustedTag = "kptr_untrusted" // an address without a reference
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

// numbered returns a value that has the number n and a NULL pointer.
func numbered(n uint64) []byte { return binary.NativeEndian.AppendUint64(make([]byte, 8), n) }

// watched is a map whose value holds a reference to a task, with programs that set and read the
// reference. The map is an array, or a hash in some rules. The methods need a kernel that lets syscall
// programs call the kfuncs for tasks.
type watched struct {
	t   *T
	m   *ebpf.Map
	out output
}

func (t *T) watched() watched {
	t.kfunc("bpf_task_from_pid") // all methods need it: end the test if the kernel lacks it
	return watched{t, t.create(kptrSpec(ebpf.Array, kptrTag, "task_struct")), t.output()}
}

// field returns an instruction that loads the address of the array's value.
func (w watched) field(r asm.Register) asm.Instruction { return asm.LoadMapValue(r, w.m.FD(), 0) }

// element returns code that loads the address of a key's value into r, and jumps to none if the map lacks
// the key.
func (w watched) element(r asm.Register, key int64, none string) code {
	return code{
		asm.StoreImm(asm.R10, -4, key, asm.Word), theMap(asm.R1, w.m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, none), mov(r, asm.R0),
	}
}

// taskFromPID returns code that sets R0 to a reference to the task whose pid is the first argument, and
// jumps to none if there is no such task.
func (t *T) taskFromPID(none string) code {
	return code{arg(asm.R1, 0), t.kfunc("bpf_task_from_pid"), asm.JEq.Imm(asm.R0, 0, none)}
}

// release returns code that releases the reference in r.
func (t *T) release(r asm.Register) code { return code{mov(asm.R1, r), t.kfunc("bpf_task_release")} }

// exchange returns code that puts the reference in r, or NULL, into the array's value, and sets R0 to the
// old reference.
func (w watched) exchange(r asm.Register) code {
	return code{w.field(asm.R1), mov(asm.R2, r), asm.FnKptrXchg.Call()}
}

// releaseOld returns code that releases the reference in R0, and jumps to then if R0 is NULL.
func (t *T) releaseOld(then string) code {
	return join(asm.JEq.Imm(asm.R0, 0, then), t.release(asm.R0))
}

// watch runs a program that puts a reference to the task with a pid into the array's value. It returns 1
// if there is no such task, otherwise 0.
func (w watched) watch(pid uint32) int32 { return w.watchAt(w.field(asm.R7), pid) }

// watchElement is watch for the value of a key in a hash. It also returns 1 if there is no such key.
func (w watched) watchElement(key int64, pid uint32) int32 {
	return w.watchAt(w.element(asm.R7, key, "none"), pid)
}

// watchAt is watch for the value whose address the code address loads into R7.
func (w watched) watchAt(address any, pid uint32) int32 {
	t := w.t
	return t.call(t.loadTask(program(
		address, t.taskFromPID("none"),
		mov(asm.R1, asm.R7), mov(asm.R2, asm.R0), asm.FnKptrXchg.Call(), t.releaseOld("done"),
		at("done", set(asm.R0, 0)), asm.Return(),
		at("none", set(asm.R0, 1)), asm.Return(),
	)), uint64(pid))
}

// loadTask loads a syscall program that calls kfuncs for tasks, and ends the test if the kernel
// does not allow such calls.
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

// taken runs a program that takes the reference out of the array's value and releases it. It returns the
// task's pid. none is 1 if the value had no reference, otherwise 0.
func (w watched) taken() (pid uint32, none int32) { return w.takenAt(w.field(asm.R7)) }

// takenFrom is taken for the value of a key in a hash. none is also 1 if there is no such key.
func (w watched) takenFrom(key int64) (pid uint32, none int32) {
	return w.takenAt(w.element(asm.R7, key, "none"))
}

// takenAt is taken for the value whose address the code address loads into R7.
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

// references returns a function that returns the reference count of the task with a pid, less the
// reference of the function's own program.
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

// offsetOf returns the offset of the member called name. It also searches anonymous members.
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

// thread starts a thread that runs until end is called, and returns the thread's pid.
func (t *T) thread() (pid uint32, end func()) {
	p := t.load(rawTracepoint, program(asm.FnGetCurrentPidTgid.Call(), asm.Return()))
	pids, stop, ended := make(chan uint32, 1), make(chan struct{}), make(chan int, 1)
	var run func()
	run = func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		tid := unix.Gettid()
		if tid == unix.Getpid() {
			// The main thread does not end. Keep it busy, so that run starts on another thread.
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
