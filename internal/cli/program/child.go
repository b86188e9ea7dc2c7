package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
)

// child is COMMAND. It is stopped until proceed is called.
type child struct {
	cmd  *exec.Cmd
	gate *os.File
	done chan struct{} // closed when it has ended
	err  error         // of Wait
	cut  bool          // it was ended because tracing ended

	open sync.Once
}

// signalled is the exit status of a shell for a command that a signal ended, less the signal.
const signalled = 128

// stopped waits for a line and becomes the command: its pid is that of the shell, and its execve is seen by programs. If
// rbtool dies, read fails and the command never starts.
const stopped = `read -r go <&3 && exec 3<&- && exec "$@"`

// startStopped starts a process that becomes the command. Its output is not escaped.
func startStopped(args []string, stdout, stderr io.Writer) (*child, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("%w in PATH", fs.ErrNotExist)
		} else if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err // its path is in the text already
		}
		return nil, fmt.Errorf("run: command %s: %w", args[0], err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c := &child{cmd: exec.Command("/bin/sh", append([]string{"-c", stopped, "sh", path}, args[1:]...)...), gate: w, done: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr, c.cmd.ExtraFiles = os.Stdin, escape.Unwrap(stdout), escape.Unwrap(stderr), []*os.File{r}
	if err := c.cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("run: start command: %w", err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// proceed lets the command start.
func (c *child) proceed() {
	c.open.Do(func() {
		_, _ = c.gate.WriteString("\n") // if the process was killed, wait says so
		c.gate.Close()
	})
}

// wait waits until the command has ended. If ctx ends first, it ends the command.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		c.cut = true
		_ = c.cmd.Process.Signal(unix.SIGTERM) // it may have ended
		<-c.done
	}
	return nil
}

// end ends the command if it has not started, or is still running, and waits for it.
func (c *child) end() {
	c.open.Do(func() { c.gate.Close() })
	_ = c.cmd.Process.Signal(unix.SIGTERM)
	<-c.done
}

// status returns an error that passes the exit status of the command on, unless other is an error or rbtool ended it.
func (c *child) status(other error) error {
	<-c.done
	if c.err == nil || other != nil || c.cut {
		return nil
	}
	code := c.cmd.ProcessState.ExitCode()
	if ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = signalled + int(ws.Signal())
	}
	return command.Printed(command.WithStatus(fmt.Errorf("command: %w", c.err), code))
}
