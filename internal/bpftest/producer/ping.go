package producer

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// ErrFull means that the ring has no room for a record.
var ErrFull = errors.New("ring is full")

// Pinger produces the records of a job one at a time, with one system call each, to measure round
// trips and wakeup latencies.
type Pinger struct {
	p    *Producer
	prog *ebpf.Program
	next bpfRunState
}

// Pinger returns a [Pinger] for job, of which it ignores Count, LastWakeup and RetryFull. The
// Pinger is valid until the Producer is closed.
func (p *Producer) Pinger(job Job) (*Pinger, error) {
	job.LastWakeup, job.RetryFull = Adaptive, false
	prog, err := p.prepare(job, pingSteps)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", job.Op, err)
	}
	return &Pinger{p: p, prog: prog, next: job.state()}, nil
}

// Ping produces the next record. If the error is ErrFull, the next Ping tries the same sequence
// number again.
//
// Only one goroutine at a time may call Ping of the same Pinger. Other goroutines may use other
// Pingers and the Producer at the same time.
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
