package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// place is a thread that starts actors in a pid namespace. Its actors die with it, and so with the test,
// however the test ends.
type place struct {
	name   string
	inside bool    // in another pid namespace, with a /proc of its own
	flags  uintptr // of clone(2)
	calls  chan func()
	init   *actor // process 1 of the namespace; nil if each actor is its own
}

// newPlace returns a place whose children join the pid namespace ns, or stay in that of the
// test if ns is nil.
func newPlace(t *testing.T, name string, ns *os.File) *place {
	t.Helper()
	p := &place{name: name, calls: make(chan func())}
	failed := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, as it is of no other use.
		runtime.LockOSThread()
		var err error
		if ns != nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWPID)
		}
		failed <- err
		for call := range p.calls {
			call()
		}
	}()
	if err := <-failed; err != nil {
		t.Fatalf("enter a pid namespace: %v", err)
	}
	return p
}

// start starts cmd on the thread of the place.
func (p *place) start(cmd *exec.Cmd) (err error) {
	if p.inside {
		cmd.Args = append([]string{"soak-inside"}, cmd.Args...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: p.flags}
	if p.init == nil {
		// The kernel kills the other processes of a pod with process 1. They see parent 0, which
		// package syscall would take for a dead parent.
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	done := make(chan struct{})
	p.calls <- func() { err = cmd.Start(); close(done) }
	<-done
	return err
}

func (p *place) close() { close(p.calls) }

// soakInsideMain is the command soak-inside COMMAND ARG... It mounts the /proc of its pid namespace and
// executes a command of this binary.
func soakInsideMain() {
	fatal(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	fatal(unix.Mount("proc", "/proc", "proc", 0, ""))
	fatal(syscall.Exec("/proc/self/exe", os.Args[1:], os.Environ()))
}

// soakPodMain is the command soak-pod: process 1 of a pid namespace that others join. It prints a line
// when it has started.
func soakPodMain() {
	fmt.Println("ready")
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	<-end
}

// actor is a process of a soak and its output.
type actor struct {
	name  string
	kind  string // the command
	place *place
	file  string // the file that it writes, or ""
	cmd   *exec.Cmd
	valve valve
	said  lastWords
	ended chan struct{} // closed when it has been reaped and its output read

	interrupted bool // by SIGINT
	killed      bool // by SIGKILL

	// Valid once ended is closed.
	status    int            // exit status, or -1
	died      syscall.Signal // -1 if it exited
	outputErr error          // the fault of its output
}

var errCutOff = errors.New("output ends within a record")

// newActor starts a command of this binary at p. read gets its standard output and returns
// errCutOff if the last record is incomplete.
func newActor(p *place, read func(*bufio.Reader) error, stdin *os.File, args ...string) (*actor, error) {
	a := &actor{name: p.name + ": " + strings.Join(args, " "), kind: args[0], place: p, ended: make(chan struct{})}
	a.cmd = exec.Command("/proc/self/exe")
	a.cmd.Args = args
	if stdin != nil {
		a.cmd.Stdin = stdin
	}
	a.cmd.Stderr = &a.said
	r, w, err := smallPipe()
	if err != nil {
		return nil, err
	}
	a.cmd.Stdout, a.valve.r = w, r
	err = errors.Join(p.start(a.cmd), w.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", a.name, err), r.Close())
	}
	go func() {
		defer close(a.ended)
		in := bufio.NewReader(&a.valve)
		a.outputErr = read(in)
		io.Copy(io.Discard, in)
		r.Close()
		a.cmd.Wait() // its error is the status
		a.status, a.died = a.cmd.ProcessState.ExitCode(), a.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
	}()
	return a, nil
}

// smallPipe returns a pipe with a small buffer.
func smallPipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		return nil, nil, errors.Join(err, r.Close(), w.Close())
	}
	return r, w, nil
}

func (a *actor) signal(sig syscall.Signal) { _ = a.cmd.Process.Signal(sig) } // it may have ended

// kill ends a, whatever its state.
func (a *actor) kill() {
	a.killed = true
	a.signal(unix.SIGKILL)
	a.valve.open()
}

// wasKilled reports whether a signal of the soak ended a: SIGKILL, or a signal that arrived before the
// program handled it, at its start or after execve. Process 1 of a namespace cannot kill itself with
// a signal; the Go runtime then exits with status 2 (runtime/signal_unix.go, dieFromSignal).
func (a *actor) wasKilled() bool {
	if a.place.flags&unix.CLONE_NEWPID != 0 && a.status == 2 && !bytes.Contains(a.said.bytes(), []byte("rbtool:")) {
		return true
	}
	switch a.died {
	case unix.SIGKILL:
		return a.killed
	case unix.SIGINT:
		return a.interrupted
	}
	return a.died == unix.SIGUSR1 || a.died == unix.SIGUSR2
}

// over reports whether a has ended.
func (a *actor) over() bool {
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

func (a *actor) String() string {
	return fmt.Sprintf("%s (process %d, status %d): %s", a.name, a.cmd.Process.Pid, a.status, bytes.TrimSpace(a.said.bytes()))
}

// valve is the reading end of an actor's output. The pipe fills up while it is shut.
type valve struct {
	r      io.Reader
	passed atomic.Uint64 // bytes

	mu   sync.Mutex
	shut chan struct{} // nil while open
}

func (v *valve) Read(b []byte) (int, error) {
	v.mu.Lock()
	shut := v.shut
	v.mu.Unlock()
	if shut != nil {
		<-shut
	}
	n, err := v.r.Read(b)
	v.passed.Add(uint64(n))
	return n, err
}

func (v *valve) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut == nil {
		v.shut = make(chan struct{})
	}
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut != nil {
		close(v.shut)
		v.shut = nil
	}
}

// lastWords keeps the end of its input.
type lastWords struct {
	mu  sync.Mutex
	buf []byte
}

func (l *lastWords) Write(b []byte) (int, error) {
	const keep = 4 << 10
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, b...)
	l.buf = l.buf[max(0, len(l.buf)-keep):]
	return len(b), nil
}

func (l *lastWords) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buf)
}

func (l *lastWords) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = nil
}
