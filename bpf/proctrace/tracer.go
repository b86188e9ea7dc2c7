package proctrace

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// DefaultRingBytes is the size of the ring when Options does not say: room for some
// 150,000 events that nobody has read yet.
const DefaultRingBytes = 16 << 20

// Options are how to trace. The zero value is right for most.
type Options struct {
	// RingBytes is the size of the ring: a power of two and a multiple of the
	// page size. Zero means DefaultRingBytes.
	RingBytes uint32
}

// Tracer is a set of loaded programs and the ring that they write. Its methods
// may be called by many goroutines at once.
type Tracer struct {
	events   *ebpf.Map
	counters *ebpf.Map
	programs [len(hooks)]*ebpf.Program

	mu       sync.Mutex
	attached bool
	links    []link.Link // of an attached tracer; one that was opened has none
	closed   bool
}

// hook is one of the programs and where it is attached.
type hook struct {
	name       string // of the program, the event's type in short
	typ        Type
	tracepoint string // include/trace/events/sched.h
}

// hooks in the order of attaching: of a process whose fork is seen everything is
// seen.
var hooks = [...]hook{
	{bpfProgProctraceExit, Exit, "sched_process_exit"},
	{bpfProgProctraceExec, Exec, "sched_process_exec"},
	{bpfProgProctraceFork, Fork, "sched_process_fork"},
}

// Load loads the programs and creates their ring, without attaching yet. The caller
// closes the Tracer.
func Load(opts Options) (*Tracer, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("load proctrace: %w", err)
	}
	spec.Maps[bpfMapProctrace].MaxEntries = DefaultRingBytes
	if opts.RingBytes != 0 {
		spec.Maps[bpfMapProctrace].MaxEntries = opts.RingBytes
	}
	var o struct {
		bpfPrograms
		Events   *ebpf.Map `ebpf:"proctrace"`
		Counters *ebpf.Map `ebpf:"counters"`
	}
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		return nil, fmt.Errorf("load proctrace: %w", err)
	}
	return &Tracer{
		events:   o.Events,
		counters: o.Counters,
		programs: [...]*ebpf.Program{o.ProctraceExit, o.ProctraceExec, o.ProctraceFork},
	}, nil
}

// Attach starts the tracing. It ends with Close, unless the Tracer was pinned.
func (t *Tracer) Attach() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return fmt.Errorf("attach proctrace: %w", os.ErrClosed)
	case t.attached:
		return errors.New("attach proctrace: it is attached already")
	}
	for i, h := range hooks {
		l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.tracepoint, Program: t.programs[i]})
		if err != nil {
			t.detach()
			return fmt.Errorf("attach %s to %s: %w", h.name, h.tracepoint, err)
		}
		t.links = append(t.links, l)
	}
	t.attached = true
	return nil
}

// detach closes the links, in the reverse order.
func (t *Tracer) detach() {
	for i := len(t.links); i > 0; i-- {
		t.links[i-1].Close()
	}
	t.links = nil
}

// Events is the ring. It belongs to the Tracer, which closes it.
func (t *Tracer) Events() *ebpf.Map { return t.events }

// Close ends the tracing, unless the Tracer is pinned or was opened from pins.
// It may be called more than once.
func (t *Tracer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.detach()
	for _, p := range t.programs {
		p.Close()
	}
	t.counters.Close()
	t.events.Close()
	return nil
}
