package proctrace

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// TestStatus compares the exit event of a process with the result of wait4, for each way in which a
// process can end.
func TestStatus(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	shell := func(script string) func() *exec.Cmd {
		return func() *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }
	}
	helped := func(name string) func() *exec.Cmd {
		return func() *exec.Cmd { return helper(t, name) }
	}
	for name, command := range map[string]func() *exec.Cmd{
		"success":          shell("exec true"),
		"exit status 1":    shell("exec false"),
		"exit status 255":  shell("exit 255"),
		"SIGKILL":          shell("kill -KILL $$"),
		"SIGTERM":          shell("kill -TERM $$"),
		"core dump":        helped("abort"),
		"threads":          helped("threads"),
		"exec from thread": helped("exec-from-thread"),
		"leader exits":     helped("leader-exits"),
	} {
		t.Run(name, func(t *testing.T) {
			var cmd *exec.Cmd
			var got []string
			const tries = 10 // events may be missed (see TestThreads): then the test tries again
			for try, missed := 0, true; len(got) == 0 && missed && try < tries; try++ {
				before := stats(t, tr).Exit.Missed
				cmd = command()
				cmd.Dir = t.TempDir() // the core file is written there
				cmd.Run()
				for _, e := range of(drain(t, tr), cmd.ProcessState.Pid()) {
					if e.Type == Exit && e.GroupDead {
						got = append(got, fmt.Sprintf("%d, %d, %v", e.ExitCode, e.Signal, e.CoreDumped))
					}
				}
				missed = stats(t, tr).Exit.Missed > before
			}
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			want := []string{fmt.Sprintf("%d, %d, %v", max(0, status.ExitStatus()), max(0, status.Signal()), status.CoreDump())}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("exit code, signal and core dump of the process, once (-wait4 +events):\n%s", diff)
			}
			if name == "core dump" && !status.CoreDump() {
				t.Logf("this machine dumped no core: %v", cmd.ProcessState)
			}
		})
	}
}

func runAbort() {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	// The Go runtime would catch SIGABRT: let a shell kill itself.
	unix.Exec("/bin/sh", []string{"sh", "-c", "kill -ABRT $$"}, os.Environ())
}

// TestThreads ends many threads at once: exactly one exit event has GroupDead, although several
// threads may seem to be the last.
func TestThreads(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	attached := boottime(t)
	pids := make(map[uint32]bool)
	for range 20 {
		cmd := helper(t, "threads")
		cmd.Run()
		pids[uint32(cmd.Process.Pid)] = true
	}
	all := drain(t, tr)
	lost := stats(t, tr)
	follow(t, all, attached, lost.Fork.Missed)
	var forks, exits, ends int
	for _, e := range all {
		if !pids[e.TGID] {
			continue
		}
		switch {
		case e.Type == Fork && isThread(e):
			forks++
			if e.PPID != uint32(os.Getpid()) {
				t.Errorf("thread's parent is %d, want the process's, %d", e.PPID, os.Getpid())
			}
		case e.Type == Exit && isThread(e):
			exits++
		}
		if e.GroupDead {
			ends++
		}
	}
	// On kernels that preempt programs, more threads may be preempted on a slow machine than there
	// are copies. Their events are counted as missed; no others are lost.
	if n := total(lost); n.Failed > 0 || n.Missed > 0 && needed() == 1 {
		t.Errorf("lost: %+v", n)
	}
	noForks, noExits := int(lost.Fork.Missed), int(lost.Exit.Missed)
	if forks+noForks < len(pids)*someThreads || exits+noExits < forks || exits > forks+noForks {
		t.Errorf("%d threads forked, %d lost, and %d exited, %d lost: want as many, and %d",
			forks, noForks, exits, noExits, len(pids)*someThreads)
	}
	if ends+noExits < len(pids) || ends > len(pids) {
		t.Errorf("%d events have GroupDead, %d lost: want %d", ends, noExits, len(pids))
	}
}

const someThreads = 50

// runThreads exits while all its threads are running.
func runThreads() {
	var started sync.WaitGroup
	for range someThreads {
		started.Add(1)
		go func() {
			runtime.LockOSThread()
			started.Done()
			select {}
		}()
	}
	started.Wait()
	unix.Exit(42)
}

func TestExecFromAThreadThatIsNotTheLeader(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	attached := boottime(t)
	cmd := helper(t, "exec-from-thread")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	all := drain(t, tr)
	follow(t, all, attached, stats(t, tr).Fork.Missed)
	events := of(all, cmd.Process.Pid)
	last := len(events) - 1
	fork, exec, exit := events[0], events[last-1], events[last]
	switch {
	case fork.Type != Fork || exec.Type != Exec || exit.Type != Exit:
		t.Fatalf("events are %+v", events)
	case exec.Filename != "/bin/true" || isThread(exec) || exec.OldPID == exec.PID:
		t.Errorf("exec: %+v", exec)
	case exec.StartTime != fork.StartTime || exit.StartTime != fork.StartTime:
		t.Errorf("the process changes its start time: %+v", events)
	case !exit.GroupDead || isThread(exit):
		t.Errorf("exit: %+v", exit)
	}
	for _, e := range events[:last-1] {
		if e.GroupDead {
			t.Errorf("the process ends before its exec: %+v", e)
		}
	}
}

func runExecFromThread() {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // this thread is not the leader: main is locked to the leader
		failed <- unix.Exec("/bin/true", []string{"true"}, nil)
	}()
	panic(<-failed)
}

func TestLeaderThatExitsFirst(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	cmd := helper(t, "leader-exits")
	cmd.Run()
	var leader, last *Event
	for _, e := range of(drain(t, tr), cmd.Process.Pid) {
		if e.Type == Exit && !isThread(e) {
			leader = &e
		}
		if e.GroupDead {
			last = &e
		}
	}
	switch {
	case leader == nil || last == nil:
		t.Fatal("events are missing")
	case leader.GroupDead || leader.ExitCode != 3:
		t.Errorf("the leader's exit is its process's: %+v", leader)
	case !isThread(*last) || last.ExitCode != 7:
		t.Errorf("the process's exit is not the last thread's: %+v", last)
	}
}

// runLeaderExits ends the leading thread with status 3. When that thread is a zombie, it ends the
// process with status 7.
func runLeaderExits() {
	go func() {
		stat := fmt.Sprintf("/proc/self/task/%d/stat", os.Getpid())
		for {
			text, err := os.ReadFile(stat)
			if err != nil {
				panic(err)
			}
			if bytes.Contains(text, []byte(") Z ")) {
				unix.Exit(7)
			}
			runtime.Gosched()
		}
	}()
	unix.Syscall(unix.SYS_EXIT, 3, 0, 0)
}

func TestForkWithoutExec(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	cmd := exec.Command("/bin/sh", "-c", "(exit 5); exit 0")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range drain(t, tr) {
		if e.PPID == uint32(cmd.Process.Pid) {
			got = append(got, fmt.Sprintf("%s %s %d", e.Type, e.Comm, e.ExitCode))
		}
	}
	if diff := cmp.Diff([]string{"fork_event sh 0", "exit_event sh 5"}, got); diff != "" {
		t.Errorf("events of the child (-want +got):\n%s", diff)
	}
}

// script writes an executable script below dir whose path has length bytes.
func script(t *testing.T, dir string, length int) string {
	t.Helper()
	for length-len(dir) > 200 {
		dir += "/" + strings.Repeat("d", 99)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := dir + "/" + strings.Repeat("f", length-len(dir)-1)
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileNames(t *testing.T) {
	testenv.NoLeaks(t)
	tr := trace(t, Options{})
	const longest = unix.PathMax - 1 // PathMax counts the NUL
	odd := filepath.Join(t.TempDir(), "a b\n\xff")
	if err := os.Symlink("/bin/true", odd); err != nil {
		t.Fatal(err)
	}
	long := script(t, t.TempDir(), longest)
	for name, test := range map[string]struct {
		cmd  *exec.Cmd
		want string
	}{
		"a program":                        {exec.Command("/bin/true"), "/bin/true"},
		"a script":                         {exec.Command(script(t, t.TempDir(), 200)), ""},
		"odd characters":                   {&exec.Cmd{Path: odd, Args: []string{"true"}}, odd},
		"as long as the longest":           {exec.Command(long), long},
		"longer: relative to a descriptor": {helper(t, "execveat"), fmt.Sprintf("/dev/fd/%d/%s", execveatDir, execveatPath)},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == "" {
				test.want = test.cmd.Path
			}
			if err := test.cmd.Run(); err != nil {
				t.Fatal(err)
			}
			var last Event
			for _, e := range of(drain(t, tr), test.cmd.Process.Pid) {
				if e.Type == Exec {
					last = e
				}
			}
			if last.Filename != test.want || last.FilenameTruncated {
				t.Errorf("Filename is %q (%d bytes), want %q (%d bytes)", last.Filename, len(last.Filename), test.want, len(test.want))
			}
		})
	}
}

// execveatDir is the descriptor number of /bin in the helper execveat, which executes a path
// relative to it. The kernel puts "/dev/fd/1000/" before that path.
const execveatDir = 1000

var execveatPath = strings.Repeat("./", (unix.PathMax-1)/2-len("true")/2) + "true"

func runExecveat() {
	dir, err := unix.Open("/bin", unix.O_PATH, 0)
	if err != nil {
		panic(err)
	}
	if err := unix.Dup2(dir, execveatDir); err != nil {
		panic(err)
	}
	path, err := unix.BytePtrFromString(execveatPath)
	if err != nil {
		panic(err)
	}
	name := []byte("true\x00")
	argv := []*byte{&name[0], nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, execveatDir, uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&argv[1])), 0, 0)
	panic(errno)
}
