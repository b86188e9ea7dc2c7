package guest

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// output copies what a binary writes to a file on the host. A write there takes the
// better part of a millisecond under an emulator, so the binary writes into a pipe, and each
// write to the file takes all that is in it.
//
// A guest that panics loses what is in the pipe. The copying thread has real-time priority:
// it runs as soon as the binary has written, so that a test that prints and then
// panics the guest has its line on the host.
type output struct {
	pipe *os.File // the binary's end
	from int      // ours
	to   *os.File
	stop *os.File // closed when the binary has ended
	err  chan error
}

// newOutput starts copying to a file. The caller keeps the file, and calls finish.
func newOutput(to *os.File) (*output, error) {
	data, stop := [2]int{}, [2]int{}
	if err := unix.Pipe2(data[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	if err := unix.Pipe2(stop[:], unix.O_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("make pipe: %w", err), unix.Close(data[0]), unix.Close(data[1]))
	}
	o := &output{
		pipe: os.NewFile(uintptr(data[1]), "pipe"), from: data[0],
		to: to, stop: os.NewFile(uintptr(stop[1]), "pipe"), err: make(chan error, 1),
	}
	go func() {
		err := o.copy(stop[0])
		o.err <- errors.Join(err, unix.Close(data[0]), unix.Close(stop[0]))
	}()
	return o, nil
}

// finish copies what is in the pipe and ends. A process that the binary has left, and that has
// the pipe still, does not hold it up.
func (o *output) finish() error {
	return errors.Join(o.pipe.Close(), o.stop.Close(), <-o.err)
}

func (o *output) copy(stop int) error {
	// The thread ends with the goroutine, since it stays locked: its priority goes with it.
	runtime.LockOSThread()
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("raise priority: %w", err)
	}
	chunk := make([]byte, 64<<10) // a pipe's size
	for {
		fds := []unix.PollFd{{Fd: int32(o.from), Events: unix.POLLIN}, {Fd: int32(stop)}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for output: %w", err)
		}
		if fds[0].Revents&unix.POLLIN != 0 {
			n, err := unix.Read(o.from, chunk)
			if err != nil && err != unix.EINTR {
				return fmt.Errorf("read output: %w", err)
			}
			if _, err := o.to.Write(chunk[:max(n, 0)]); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
		}
		if fds[1].Revents != 0 || fds[0].Revents == unix.POLLHUP {
			return nil // that was all the pipe can hold
		}
	}
}
