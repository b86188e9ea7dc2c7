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

// place starts actors in a pid namespace, from one thread. The kernel kills its actors when that thread
// ends, and so when the test ends, for whatever reason.
type place struct {
	name   string
	inside bool    // actors run in another pid namespace, with its own /proc
	flags  uintptr // flags for clone(2)
	calls  chan func()
	init   *actor // process 1 of the namespace; nil if each actor is process 1 of its own
}

// newPlace returns a place whose actors run in the pid namespace ns, or in that of the test if ns is
// nil.
func newPlace(t *testing.T, name string, ns *os.File) *place {
	t.Helper()
	p := &place{name: name, calls: make(chan func())}
	failed := make(chan error)
	go func() {
		// Do not unlock: children of this thread start in ns, so the thread must end with this goroutine.
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

// start starts cmd from the thread of the place.
func (p *place) start(cmd *exec.Cmd) (err error) {
	if p.inside {
		cmd.Args = append([]string{"soak-inside"}, cmd.Args...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: p.flags}
	if p.init == nil {
		// The kernel kills the other processes of a pod together with process 1: they need no Pdeathsig.
		// Their parent's pid appears as 0 to them, which package syscall would mistake for a dead
		// parent.
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

// soakPodMain is the command soak-pod. It runs as process 1 of a pid namespace that actors join. It
// prints a line when it has started.
func soakPodMain() {
	fmt.Println("ready")
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	<-end
}

// actor is a process of a soak, with its output.
type actor struct {
	name  string
	kind  string // name of its command
	place *place
	file  string // path of the file that it writes, or ""
	cmd   *exec.Cmd
	valve valve
	said  lastWords
	ended chan struct{} // closed when the process has been reaped and its output has been read

	interrupted bool // the soak sent it SIGINT
	killed      bool // the soak sent it SIGKILL

	// The following fields are valid once ended is closed.
	status    int            // exit status, or -1 if a signal killed it
	died      syscall.Signal // signal that killed it, or -1 if it exited
	outputErr error          // what is wrong with its output, or nil
}

var errCutOff = errors.New("output ends within a record")

// newActor starts a command of this binary at p. It calls read with the command's standard output. read
// returns errCutOff if the last record is incomplete.
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
		a.cmd.Wait() // the exit status is read from ProcessState
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

func (a *actor) signal(sig syscall.Signal) { _ = a.cmd.Process.Signal(sig) } // fails if the actor has ended

// kill kills a, even if it is stopped or its output is blocked.
func (a *actor) kill() {
	a.killed = true
	a.signal(unix.SIGKILL)
	a.valve.open()
}

// wasKilled reports whether a signal of the soak ended a. The signal can be other than SIGKILL if the
// program did not handle it yet, at its start or after execve. Process 1 of a namespace cannot kill
// itself with a signal: in it the Go runtime exits with status 2 instead (runtime/signal_unix.go,
// dieFromSignal).
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

// valve reads an actor's output. While it is shut it does not read: the pipe fills up and blocks the
// actor.
type valve struct {
	r      io.Reader
	passed atomic.Uint64 // bytes that were read

	mu   sync.Mutex
	shut chan struct{} // nil while the valve is open
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

// lastWords is a writer that keeps only the end of its input.
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
