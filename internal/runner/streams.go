package runner

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Streams reads what programs write to their streams by bpf_stream_printk, and what the kernel writes to their standard error:
// faults in arenas, locks that were not taken in time, loops that were ended (kernel/bpf/stream.c).
type Streams struct {
	stop chan struct{}
	wait sync.WaitGroup
}

// streamEvery is how often streams are read: the kernel does not wake readers of a stream.
const streamEvery = 200 * time.Millisecond

// FollowStreams calls print with what the programs of the object write, on a goroutine of its own, until Close. The error
// matches [ebpf.ErrNotSupported] before Linux 6.17.
func (o *Object) FollowStreams(print func(p *Program, stream syscall.Stream, text []byte)) (*Streams, error) {
	if len(o.programs) == 0 {
		return nil, errors.New("the object has no program")
	}
	if err := o.readStreams(print); err != nil {
		return nil, err
	}
	s := &Streams{stop: make(chan struct{})}
	s.wait.Go(func() {
		tick := time.NewTicker(streamEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-s.stop:
				_ = o.readStreams(print) // has worked before
				return
			}
			_ = o.readStreams(print)
		}
	})
	return s, nil
}

// readStreams reads all that the streams of all programs have.
func (o *Object) readStreams(print func(p *Program, stream syscall.Stream, text []byte)) error {
	buf := make([]byte, 4096)
	for _, p := range o.programs {
		for _, stream := range []syscall.Stream{syscall.StreamOut, syscall.StreamErr} {
			for {
				n, err := syscall.ReadStream(p.Program, stream, buf)
				if err != nil {
					return fmt.Errorf("read stream of program %s: %w", p.Name, err)
				}
				if n == 0 {
					break
				}
				print(p, stream, buf[:n])
			}
		}
	}
	return nil
}

// Close reads the rest and ends the goroutine. Call it once, before the Object is closed.
func (s *Streams) Close() {
	close(s.stop)
	s.wait.Wait()
}
