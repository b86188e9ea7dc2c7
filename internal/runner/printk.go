package runner

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Printk reads what bpf_printk writes: lines of all programs of the host, which the kernel does not tell apart. It consumes
// them: another reader of trace_pipe does not get them.
type Printk struct {
	file *os.File
	done chan struct{}
}

// printkLine is what begins a line of bpf_printk in trace_pipe (kernel/trace/bpf_trace.h, TRACE_EVENT bpf_trace_printk).
const printkLine = ": bpf_trace_printk: "

// FollowPrintk calls print for each line from now on, without the newline, on a goroutine of its own, until Close. task is what
// the kernel says of the task, such as "cat-123     [001] d..31  12.5".
func FollowPrintk(print func(task, text string)) (*Printk, error) {
	fd, err := openTracePipe()
	if err != nil {
		return nil, err
	}
	p := &Printk{file: os.NewFile(uintptr(fd), "trace_pipe"), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(p.file); lines.Scan(); {
			if task, text, ok := strings.Cut(lines.Text(), printkLine); ok {
				print(strings.TrimSpace(task), text)
			}
		}
	}()
	return p, nil
}

// openTracePipe opens trace_pipe so that reads can be ended by a deadline.
func openTracePipe() (fd int, err error) {
	for _, root := range tracefsRoots {
		if fd, err = unix.Open(path.Join(root, "trace_pipe"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			return fd, nil
		}
	}
	if errors.Is(err, unix.EBUSY) {
		return -1, fmt.Errorf("open trace_pipe: %w (another process reads it)", err)
	}
	return -1, fmt.Errorf("open trace_pipe: %w", err)
}

// printkGrace is how long Close waits for a line that has not arrived yet.
const printkGrace = 50 * time.Millisecond

// Close prints the lines that are left and ends the goroutine. Call it once.
func (p *Printk) Close() error {
	err := p.file.SetReadDeadline(time.Now().Add(printkGrace))
	if err == nil {
		<-p.done
	}
	return errors.Join(err, p.file.Close())
}
