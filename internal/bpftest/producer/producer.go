package producer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Producer produces records into one ring.
type Producer struct {
	ringSize uint32
	programs programs
	held     holds
	closed   atomic.Bool

	state   *state
	runMu   sync.Mutex // held while a program uses state.run
	queryMu sync.Mutex // held while a program uses state.query
}

// Load returns a Producer for ring, a RINGBUF map. The caller may close ring before the Producer.
// Load loads no programs: the first Run of each kind of Job loads the program for it, and Close
// unloads the programs.
func Load(ring *ebpf.Map) (*Producer, error) {
	if ring.Type() != ebpf.RingBuf {
		return nil, fmt.Errorf("load producer: map is a %s, not a %s", ring.Type(), ebpf.RingBuf)
	}
	own, err := ring.Clone()
	if err != nil {
		return nil, fmt.Errorf("load producer: %w", err)
	}
	st, err := newState()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load producer: %w", err), own.Close())
	}
	return &Producer{
		ringSize: ring.MaxEntries(),
		programs: programs{ring: own, state: st.m, loaded: map[variant]*ebpf.Program{}},
		state:    st,
	}, nil
}

// Close stops a Run, discards held records and unloads the programs. Later calls of other methods
// return an error matching os.ErrClosed.
func (p *Producer) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	err := p.held.close()
	p.runMu.Lock()
	defer p.runMu.Unlock()
	p.queryMu.Lock()
	defer p.queryMu.Unlock()
	return errors.Join(err, p.programs.close(), p.programs.ring.Close(), p.state.close())
}

// Result tells what a Run did.
type Result struct {
	Submitted uint64 // records that were submitted
	Discarded uint64
	Failed    uint64 // records whose sequence number was skipped because the ring was full
	Retried   uint64 // reservations that failed because the ring was full and were tried again
	Bytes     uint64 // bytes of payload in the submitted records
	Next      uint64 // the first sequence number not yet produced
}

// Run produces the job's records. It returns after the last sequence number, or with the
// result so far when ctx ends or Close is called. The error matches ebpf.ErrNotSupported if the
// kernel lacks a feature of the job's Op.
//
// With RetryFull, a run spins while the program stopped because the ring is full, so that a
// benchmark loses no time, until the ring has room or ctx ends.
func (p *Producer) Run(ctx context.Context, job Job) (Result, error) {
	res, err := p.run(ctx, job)
	if err != nil {
		return res, fmt.Errorf("run %s: %w", job.Op, err)
	}
	return res, nil
}

func (p *Producer) run(ctx context.Context, job Job) (Result, error) {
	steps := uint32(runSteps)
	if job.Fast && job.Count >= fastSteps {
		steps = fastSteps
	}
	prog, err := p.prepare(job, steps)
	if err != nil {
		return Result{Next: job.Seq}, err
	}
	return p.runProgram(ctx, prog, job)
}

// runProgram runs prog until the job is done.
func (p *Producer) runProgram(ctx context.Context, prog *ebpf.Program, job Job) (Result, error) {
	p.runMu.Lock()
	defer p.runMu.Unlock()
	if p.closed.Load() {
		return Result{Next: job.Seq}, os.ErrClosed
	}
	s := job.state()
	end := s.End
	if job.LastWakeup != Adaptive && job.Count > 0 {
		s.End--
	}
	err := p.repeat(ctx, prog, &s)
	if err == nil && s.End != end {
		s.End, s.Flags = end, uint64(job.LastWakeup)
		err = p.repeat(ctx, prog, &s)
	}
	return job.result(s), err
}

// repeat runs prog until it has reached s.End, and updates s.
func (p *Producer) repeat(ctx context.Context, prog *ebpf.Program, s *bpfRunState) error {
	p.state.setRun(*s)
	defer func() { *s = p.state.getRun() }()
	for seq := s.Seq; seq != s.End; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.closed.Load() {
			return os.ErrClosed
		}
		if _, err := syscall.TestRun(prog); err != nil {
			return fmt.Errorf("test run: %w", err)
		}
		before := seq
		if seq = p.state.seq(); seq == before {
			runtime.Gosched() // the ring is full
		}
	}
	return nil
}

// prepare returns the program for the job.
func (p *Producer) prepare(job Job, steps uint32) (*ebpf.Program, error) {
	if err := job.check(p.ringSize); err != nil {
		return nil, err
	}
	v, err := job.variant(steps)
	if err != nil {
		return nil, err
	}
	return p.programs.get(v)
}

// state returns the values of the program's globals at the start of the job.
func (j Job) state() bpfRunState {
	s := bpfRunState{Seq: j.Seq, End: j.Seq + j.Count}
	if j.WakeBytes == 0 {
		s.Flags = uint64(j.Wakeup)
	}
	if j.RetryFull {
		s.Retry = 1
	}
	return s
}

func (j Job) result(s bpfRunState) Result {
	r := Result{Submitted: s.Submitted, Discarded: s.Discarded, Bytes: s.Bytes, Next: s.Seq}
	if j.RetryFull {
		r.Retried = s.Failed
	} else {
		r.Failed = s.Failed
	}
	return r
}
