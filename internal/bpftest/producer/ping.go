package producer

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// ErrFull means that the ring had no room for a record.
var ErrFull = errors.New("ring full")

// Pinger produces a job's records one at a time, with one system call each, for round trips and
// wakeup latencies.
type Pinger struct {
	p    *Producer
	prog *ebpf.Program
	next bpfRunState
}

// Pinger prepares the job, and ignores Count, LastWakeup and RetryFull. The Pinger lives as long as
// the Producer.
func (p *Producer) Pinger(job Job) (*Pinger, error) {
	job.LastWakeup, job.RetryFull = Adaptive, false
	prog, err := p.prepare(job, pingSteps)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", job.Op, err)
	}
	return &Pinger{p: p, prog: prog, next: job.state()}, nil
}

// Ping produces the next record. A record that fails with ErrFull keeps its sequence number for the
// next Ping.
//
// Only one goroutine at a time may call Ping of a Pinger. Other Pingers and other methods of
// the Producer may be used meanwhile.
func (pg *Pinger) Ping() error {
	if err := pg.ping(); err != nil {
		return fmt.Errorf("ping record %d: %w", pg.next.Seq, err)
	}
	pg.next.Seq++
	return nil
}

func (pg *Pinger) ping() error {
	p := pg.p
	p.runMu.Lock()
	defer p.runMu.Unlock()
	if p.closed.Load() {
		return os.ErrClosed
	}
	pg.next.End = pg.next.Seq + 1
	p.state.setRun(pg.next)
	failed, err := syscall.TestRun(pg.prog)
	if err != nil {
		return fmt.Errorf("test run: %w", err)
	}
	if failed != 0 {
		return ErrFull
	}
	return nil
}
