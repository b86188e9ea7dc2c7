package proctrace

import (
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/symbol"
	"github.com/rbtool/rbtool/internal/testenv"
)

// memoryAtExit reports whether a process still has its memory at its exit event. It does on kernels
// whose tracepoint passes group_dead (Linux 6.16).
func memoryAtExit(t *testing.T) bool {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var typ *btf.Typedef
	if err := kernel.TypeByName("btf_trace_sched_process_exit", &typ); err != nil {
		t.Fatal(err)
	}
	return len(typ.Type.(*btf.Pointer).Target.(*btf.FuncProto).Params) > 2
}

func TestStacks(t *testing.T) {
	testenv.NoLeaks(t)
	const tries = 5
	for range tries {
		if stacksOfTrue(t) {
			return
		}
	}
	t.Errorf("stacks were lost at each of %d tries", tries)
}

// stacksOfTrue traces the program true and checks its stacks. It returns false if a stack was lost
// because another stack had the same slot. Another tracer may not lose it: its programs have other
// addresses, so its stacks differ.
func stacksOfTrue(t *testing.T) bool {
	t.Helper()
	tr := trace(t, Options{Stacks: true})
	stacks, err := StacksOf(tr.Events())
	if err != nil {
		t.Fatal(err)
	}
	defer stacks.Close()
	kernel, err := symbol.ReadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for _, replaced := range []bool{false, true} {
		if replaced {
			if err := tr.Replace(); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("/bin/true")
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		for _, e := range of(drain(t, tr), cmd.Process.Pid) {
			if errors.Is(stackError(e.KernelStack), errStackLost) || errors.Is(stackError(e.UserStack), errStackLost) {
				t.Logf("lost: %+v", e)
				return false
			}
			checkStacks(t, stacks, kernel, e)
		}
	}
	return true
}

// checkStacks checks the stacks of an exec event, or of the exit event of a process.
func checkStacks(t *testing.T, stacks *Stacks, kernel *symbol.Kernel, e Event) {
	t.Helper()
	switch {
	case e.Type == Exec:
		if names := kernelNames(t, stacks, kernel, e); !strings.Contains(names, "execve+") {
			t.Errorf("kernel's stack at exec: %s", names)
		}
		if frames, err := stacks.User(e.UserStack); len(frames) == 0 || err != nil {
			t.Errorf("stack at exec: %v, %v", frames, err)
		}
	case e.Type == Exit && e.GroupDead:
		if names := kernelNames(t, stacks, kernel, e); !strings.Contains(names, " do_exit+") {
			t.Errorf("kernel's stack at exit: %s", names)
		}
		frames, err := stacks.User(e.UserStack)
		if !memoryAtExit(t) {
			if !errors.Is(err, errStackGone) {
				t.Errorf("stack at exit: %v, %v, want errStackGone", frames, err)
			}
			return
		}
		if len(frames) == 0 || err != nil {
			t.Errorf("stack at exit: %v, %v", frames, err)
		}
		for _, f := range frames {
			if f.BuildID == nil && f.IP == 0 || f.BuildID != nil && len(f.BuildID) != 20 {
				t.Errorf("a frame at exit: %+v", f)
			}
		}
	}
}

// kernelNames returns the names of the functions in the kernel stack of an event, innermost first.
func kernelNames(t *testing.T, stacks *Stacks, kernel *symbol.Kernel, e Event) string {
	t.Helper()
	ips, err := stacks.Kernel(e.KernelStack)
	if err != nil {
		t.Errorf("kernel's stack of %s: %v", e.Type, err)
	}
	var names []string
	for _, ip := range ips {
		names = append(names, kernel.Name(ip))
	}
	return strings.Join(names, " ")
}

// If two stacks have the same slot, the second stack is lost and counted.
func TestLostStacksAreCounted(t *testing.T) {
	testenv.NoLeaks(t)
	b := buildFor(kernelTypes())
	b.stackSlots = 1
	tr := traceBuild(t, Options{Stacks: true}, b)
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	s := total(stats(t, tr))
	var lost, kept uint64
	for _, e := range drain(t, tr) {
		for _, id := range []int32{e.KernelStack, e.UserStack} {
			switch err := stackError(id); {
			case errors.Is(err, errStackLost):
				lost++
			case err == nil:
				kept++
			}
		}
	}
	if lost == 0 || kept == 0 {
		t.Errorf("%d stacks lost, %d kept, want some of each", lost, kept)
	}
	if s.StacksLost > lost || s.StacksLost == 0 { // other processes may have lost stacks in between
		t.Errorf("%d stacks lost, counted %d before", lost, s.StacksLost)
	}
}

func TestWithoutStacksThereAreNone(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	if _, err := StacksOf(tr.Events()); !errors.Is(err, errNoStacks) {
		t.Errorf("StacksOf: %v, want errNoStacks", err)
	}
	pid := runTrue(t, "")
	for _, e := range of(drain(t, tr), pid) {
		if !errors.Is(stackError(e.KernelStack), errNoStacks) || !errors.Is(stackError(e.UserStack), errNoStacks) {
			t.Errorf("%+v", e)
		}
	}
	if _, err := StacksOf(testenv.Ring(t, testenv.PageSize)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("StacksOf another ring: %v, want ErrNotExist", err)
	}
}
