package proctrace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/userprod"
)

// sleeper starts a process that sleeps until the test ends.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1d")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// told is a process that does a step for each line of input, and then prints a line.
type told struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, cmd *exec.Cmd) told {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return told{cmd, in, bufio.NewReader(out)}
}

// answer waits for a line of output of the process.
func (p told) answer(t *testing.T) {
	t.Helper()
	if _, err := p.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func (p told) tell(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// end ends the process, which must be waiting for input.
func (p told) end(t *testing.T) {
	t.Helper()
	p.in.Close()
	p.Wait()
}

// runsWhenTold is a shell script that prints a line, and then runs /bin/true and prints a line for
// each line of input.
const runsWhenTold = "echo; while read x; do /bin/true; echo; done"

// startAs starts a shell that gets the pid of an ended process. It fails if another process has the
// pid.
func startAs(t *testing.T, pid int) (told, error) {
	t.Helper()
	const last = "/proc/sys/kernel/ns_last_pid"
	for range 10000 {
		if unix.Kill(pid, 0) == nil {
			break
		}
		if err := os.WriteFile(last, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			testenv.SkipWithout(t, "checkpoint-restore", err)
		}
		p := start(t, exec.Command("/bin/sh", "-c", runsWhenTold))
		if p.Process.Pid == pid {
			return p, nil
		}
		p.end(t) // another process has forked in between and has got the pid
	}
	return told{}, fmt.Errorf("pid %d could not be had", pid)
}

// about returns the events of a process and its children, one short line for each.
func about(events []Event, pid int) (lines []string) {
	for _, e := range events {
		if e.TGID == uint32(pid) || e.PPID == uint32(pid) {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Type, e.Comm, e.Filename)))
		}
	}
	return lines
}

// eachHolding runs a test with rules that do not hold tasks and, if the kernel permits it, with
// rules that do.
func eachHolding(t *testing.T, test func(t *testing.T, tr *Tracer)) {
	canHold := buildFor(kernelTypes()).holdsTasks
	kernel, err := kernelTypes().Kernel()
	if err != nil {
		t.Fatal(err)
	}
	// bpf_iter_bits_new is new in 6.11. From 6.10 on, programs of this kind can use the functions
	// for tasks, so holding must work.
	if _, err := kernel.AnyTypeByName("bpf_iter_bits_new"); err == nil && !canHold {
		t.Errorf("rules cannot hold tasks: %v", holding(kernelTypes()))
	}
	for name, holds := range map[string]bool{"held": true, "by start": false} {
		if holds && !canHold {
			continue
		}
		t.Run(name, func(t *testing.T) {
			testenv.NoLeaks(t)
			if !haveCommands() {
				testenv.SkipWithout(t, "user_ringbuf", errors.New("no user ring buffers"))
			}
			b := buildFor(kernelTypes())
			b.holdsTasks = holds
			tr := traceBuild(t, Options{}, b)
			if s := stats(t, tr); s.HoldsTasks != holds {
				t.Errorf("it is %+v", s)
			}
			test(t, tr)
		})
	}
}

// If a watched process ends and its pid is reused, no event of the new process and its children is
// written. A new rule about the pid applies to the new process.
func TestAReusedPidIsAnotherProcess(t *testing.T) {
	eachHolding(t, func(t *testing.T, tr *Tracer) {
		for attempt := 1; ; attempt++ {
			err := reusePid(t, tr)
			if err == nil {
				return
			}
			if attempt == 10 {
				t.Fatal(err)
			}
			t.Log(err)
		}
	})
}

func reusePid(t *testing.T, tr *Tracer) error {
	command(t, tr, reset, Subject{})
	old := start(t, exec.Command("/bin/sh", "-c", runsWhenTold))
	old.answer(t)
	pid := old.Process.Pid
	command(t, tr, watch, Subject{PID: uint32(pid)})
	drain(t, tr)
	child := []string{"fork_event sh", "exec_event true /bin/true", "exit_event true"}
	old.tell(t)
	old.answer(t)
	old.end(t)
	if diff := cmp.Diff(append(child, "exit_event sh"), about(drain(t, tr), pid)); diff != "" {
		t.Errorf("the watched process (-want +got):\n%s", diff)
	}

	young, err := startAs(t, pid)
	if err != nil {
		return err
	}
	young.answer(t)
	young.tell(t)
	young.answer(t)
	if got := about(drain(t, tr), pid); got != nil {
		t.Errorf("of a process that got the pid: %q", got)
	}
	command(t, tr, watch, Subject{PID: uint32(pid)})
	young.tell(t)
	young.answer(t)
	young.end(t)
	if diff := cmp.Diff(append(child, "exit_event sh"), about(drain(t, tr), pid)); diff != "" {
		t.Errorf("the new process, watched in its turn (-want +got):\n%s", diff)
	}
	if s := stats(t, tr); s.Rules != 1 || s.Watches != 1 {
		t.Errorf("%d rules, %d watch", s.Rules, s.Watches)
	}
	return nil
}

// A rule still applies to a process after a thread other than the leader has called exec, which
// gives that thread the leader's pid.
func TestAWatchedProcessStaysWatchedAcrossExec(t *testing.T) {
	eachHolding(t, func(t *testing.T, tr *Tracer) {
		cmd := helper(t, "exec-when-told")
		p := start(t, cmd)
		p.answer(t)
		command(t, tr, watch, Subject{PID: uint32(cmd.Process.Pid)})
		drain(t, tr)
		p.tell(t)
		p.answer(t) // the answer of the executed shell
		p.tell(t)
		p.answer(t)
		p.end(t)
		var got []string
		for _, e := range drain(t, tr) {
			if e.PPID == uint32(cmd.Process.Pid) || e.TGID == uint32(cmd.Process.Pid) && (e.Type == Exec || e.GroupDead) {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Type, e.Comm, e.Filename)))
			}
		}
		want := []string{"exec_event sh /bin/sh", "fork_event sh", "exec_event true /bin/true", "exit_event true", "exit_event sh"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// runExecWhenTold executes a shell from a thread that is not the leader.
func runExecWhenTold() {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		fmt.Println()
		var b [1]byte
		if _, err := os.Stdin.Read(b[:]); err != nil {
			failed <- err
		}
		failed <- unix.Exec("/bin/sh", []string{"sh", "-c", runsWhenTold}, nil)
	}()
	panic(<-failed)
}

// heldTasks returns the number of rules that hold a reference to a task.
func heldTasks(t *testing.T, tr *Tracer) uint32 {
	t.Helper()
	var n bpfRuleCounts
	if err := tr.control.ruled.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	return n.Held
}

// write writes a command, and returns its cookie.
func write(t *testing.T, p *userprod.Producer, a action, about Subject) (cookie uint64) {
	t.Helper()
	c, err := newCommand(a, about)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := userprod.TryWriteAll(p, []bpfCommand{c}); err != nil {
		t.Fatal(err)
	}
	return c.Cookie
}

// send sends a command with an open producer, and fails the test if the tracer refuses it.
func send(t *testing.T, tr *Tracer, p *userprod.Producer, a action, about Subject) {
	t.Helper()
	if err := tr.control.await(write(t, p, a, about)); err != nil {
		t.Fatal(err)
	}
}

// Each rule about a living process holds its task, and no other rule holds a task.
func TestRulesHoldTasks(t *testing.T) {
	eachHolding(t, func(t *testing.T, tr *Tracer) {
		holds := stats(t, tr).HoldsTasks
		self, other := uint32(os.Getpid()), uint32(sleeper(t).Process.Pid)
		thread, done := anotherThread()
		defer close(done)
		// One producer sends all commands: opening a producer takes time, since it looks for other
		// writers.
		p, err := userprod.New(tr.control.commands, userprod.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for _, c := range []struct {
			action action
			about  Subject
			want   uint32
		}{
			{watch, Subject{PID: self}, 1}, {watch, Subject{PID: self}, 1}, {ignore, Subject{PID: self}, 1},
			{ignore, Subject{PID: other}, 2}, {watch, Subject{Comm: "true"}, 2}, {watch, Subject{PID: 1 << 30}, 2},
			{watch, Subject{PID: thread}, 2}, {forget, Subject{PID: 1 << 30}, 2}, {forget, Subject{PID: other}, 1}, {reset, Subject{}, 0},
			{watch, Subject{PID: self}, 1},
			// These rules get the memory of rules that held tasks. Linux 7.1 and later do not clear
			// that memory.
			{forget, Subject{PID: self}, 0}, {watch, Subject{Comm: "true"}, 0}, {forget, Subject{Comm: "true"}, 0},
			{watch, Subject{PID: self}, 1}, {reset, Subject{}, 0}, {watch, Subject{PID: 1 << 30}, 0}, {forget, Subject{PID: 1 << 30}, 0},
			{watch, Subject{PID: self}, 1}, {ignore, Subject{PID: self}, 1}, {watch, Subject{Comm: "false"}, 1}, {forget, Subject{Comm: "false"}, 1},
		} {
			send(t, tr, p, c.action, c.about)
			if !holds {
				c.want = 0
			}
			if got := heldTasks(t, tr); got != c.want {
				t.Errorf("%s %+v: %d rules hold a task, want %d", c.action, c.about, got, c.want)
			}
		}
	})
}

// Rules made by commands that the timer drains hold tasks too.
func TestTheTimerHoldsTasks(t *testing.T) {
	eachHolding(t, func(t *testing.T, tr *Tracer) {
		p, err := userprod.New(tr.control.commands, userprod.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		write(t, p, watch, Subject{PID: uint32(os.Getpid())})
		s := stats(t, tr)
		for s.Watches == 0 {
			s = stats(t, tr)
		}
		if got := heldTasks(t, tr); (got == 1) != s.HoldsTasks {
			t.Errorf("%d rules hold a task", got)
		}
	})
}

// anotherThread starts a thread of this process that is not the leader, and returns its id. The
// thread lives until done is closed.
func anotherThread() (tid uint32, done chan struct{}) {
	tids, done := make(chan int), make(chan struct{})
	for {
		go func() {
			// No UnlockOSThread: the thread ends with the goroutine, unless it is the main thread.
			runtime.LockOSThread()
			tids <- unix.Gettid()
			<-done
		}()
		if tid := <-tids; tid != os.Getpid() {
			return uint32(tid), done
		}
	}
}
