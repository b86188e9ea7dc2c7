package proctrace

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/mapflag"
)

// defaultRingBytes is the default of Options.RingBytes. A ring of that size has room for about
// 150,000 events.
const defaultRingBytes = 16 << 20

// Options configure a tracer. The zero value suits most uses.
type Options struct {
	// RingBytes is the size of the ring in bytes: a power of two and a multiple of the
	// page size. Zero means 16 MiB, which has room for about 150,000 events.
	RingBytes uint32

	// Overwrite makes the ring a flight recorder: when it is full, new events overwrite the
	// oldest ones. It needs Linux 6.19; on older kernels [Load] returns an error matching
	// [ebpf.ErrNotSupported].
	Overwrite bool

	// Stacks records the kernel and user stacks of exec and exit events: see [StacksOf]. That takes
	// a few microseconds for each event.
	Stacks bool

	// Processes keeps a table of living processes in an arena of 8 MiB: see
	// [Tracer.Processes]. It needs Linux 6.12 on amd64 or arm64; elsewhere [Load] returns an error
	// matching [ebpf.ErrNotSupported].
	Processes bool
}

// Tracer is a set of loaded programs and the ring into which they write. Any number of goroutines
// may call its methods at once.
type Tracer struct {
	events   *ebpf.Map
	counters *ebpf.Map
	handlers *ebpf.Map                   // the map of handlers, which the attached programs call
	programs [len(hooks)][]*ebpf.Program // the copies of each program, in the order of attaching
	control  *control                    // nil if the kernel has no user rings

	processes *ebpf.Map     // the arena; nil without a process table
	table     *processTable // nil after Open

	mu       sync.Mutex
	attached bool
	links    []link.Link // links that this process has created, in the order of attaching; none after Open
	closed   bool
}

// hook is a program and the tracepoint to which it is attached.
type hook struct {
	name       string // name of the program
	typ        Type
	tracepoint string // include/trace/events/sched.h
}

// hooks has the hooks in the order of attaching. Fork is attached last: if the fork of a process is
// traced, its exec and exit are traced too.
var hooks = [...]hook{
	{bpfProgProctraceExit, Exit, "sched_process_exit"},
	{bpfProgProctraceExec, Exec, "sched_process_exec"},
	{bpfProgProctraceFork, Fork, "sched_process_fork"},
}

// Load loads the programs and creates their ring. [Tracer.Attach] starts the tracing. The
// caller closes the Tracer.
func Load(opts Options) (*Tracer, error) {
	cache := kernelbtf.Cache()
	t, err := load(opts, buildFor(cache), cache)
	if err != nil {
		return nil, fmt.Errorf("load proctrace: %w", err)
	}
	return t, nil
}

// build has the choices that adapt the programs to a kernel.
type build struct {
	copies     uint32 // number of copies of each program for events
	holdsTasks bool   // whether rules hold tasks
	stackSlots uint32 // slots for kernel and for user stacks each; 0: the number in the object file
}

// buildFor returns the build for the running kernel.
func buildFor(cache *btf.Cache) build {
	b := build{copies: 1, holdsTasks: haveCommands() && holding(cache) == nil}
	if preemptible(cache) {
		b.copies = maxCopies
	}
	return b
}

// maxCopies is the number of copies of each program on kernels that preempt programs. On an
// emulated 7.2, where preemption is frequent, one copy missed 5 of 2,100 events, two missed
// 1 of 21,000, three none of 140,000.
const maxCopies = 3

// preemptible reports whether the kernel runs tracepoint programs with preemption enabled. Such a
// kernel has the type of the guard that tracepoints use instead of disabling preemption
// (include/linux/tracepoint.h, __DECLARE_TRACE).
func preemptible(cache *btf.Cache) bool {
	kernel, err := cache.Kernel()
	if err != nil {
		return false // ignore the error: loading the programs will fail with it
	}
	_, err = kernel.AnyTypeByName("class_srcu_fast_notrace_t")
	return err == nil
}

// configure sets the sizes of maps and the constants of programs.
func configure(spec *ebpf.CollectionSpec, opts Options, b build) error {
	events := spec.Maps[bpfMapEvents]
	events.MaxEntries = defaultRingBytes
	if opts.RingBytes != 0 {
		events.MaxEntries = opts.RingBytes
	}
	if opts.Overwrite {
		events.Flags |= mapflag.RBOverwrite
	}
	spec.Maps[bpfMapCounters].MaxEntries *= b.copies
	spec.Maps[bpfMapScratch].MaxEntries *= b.copies
	spec.Maps[bpfMapHandlers].MaxEntries *= b.copies + 1
	return errors.Join(
		spec.Variables[bpfVarWithTable].Set(opts.Processes),
		setHolding(spec, b.holdsTasks),
		setStacks(spec, opts.Stacks, b.stackSlots),
	)
}

func load(opts Options, b build, cache *btf.Cache) (*Tracer, error) {
	spec, err := newSpec()
	if err != nil {
		return nil, err
	}
	if err := configure(spec, opts, b); err != nil {
		return nil, err
	}
	shared := make(map[string]*ebpf.Map)
	t := &Tracer{}
	err = newMaps(spec, shared)
	if err == nil {
		t.events, t.counters, t.handlers = shared[bpfMapEvents], shared[bpfMapCounters], shared[bpfMapHandlers]
		err = t.loadCopies(spec, b.copies, ebpf.CollectionOptions{MapReplacements: shared, Cache: cache})
	}
	if err == nil && opts.Processes {
		if t.table, err = newTable(t.handlers, t.counters, b.copies*uint32(eventTypes), cache); err == nil {
			t.processes = t.table.arena.Map()
		}
	}
	if err == nil && haveCommands() {
		t.control, err = newControl(spec, b.holdsTasks, shared, cache)
	}
	for _, m := range shared {
		if err != nil || m != t.events && m != t.counters && m != t.handlers {
			m.Close() // the programs keep the maps that they use
		}
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// sharedMaps has the names of the maps that all copies share: all maps except the sections with
// constants.
var sharedMaps = []string{
	bpfMapEvents, bpfMapCounters, bpfMapHandlers, bpfMapScratch, bpfMapMarks, bpfMapDead, bpfMapRules, bpfMapRuled,
	bpfMapKernelStacks, bpfMapUserStacks,
}

// overwriting returns nil if the kernel has ring buffers that overwrite, else an error.
func overwriting() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize()), Flags: mapflag.RBOverwrite})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the kernel has no ring buffers that overwrite (BPF_F_RB_OVERWRITE, Linux 6.19): %w", ebpf.ErrNotSupported)
	}
	if err != nil {
		return err
	}
	return m.Close()
}

func isShared(name string) bool { return slices.Contains(sharedMaps, name) }

// newMaps creates the shared maps that are not yet in shared, and adds them.
func newMaps(spec *ebpf.CollectionSpec, shared map[string]*ebpf.Map) error {
	for _, name := range sharedMaps {
		if shared[name] != nil {
			continue
		}
		m, err := ebpf.NewMap(spec.Maps[name])
		if err != nil && spec.Maps[name].Flags&mapflag.RBOverwrite != 0 {
			if lacks := overwriting(); lacks != nil {
				return lacks
			}
		}
		if err != nil {
			return fmt.Errorf("create map %q: %w", name, err)
		}
		shared[name] = m
	}
	return nil
}

func (t *Tracer) loadCopies(spec *ebpf.CollectionSpec, copies uint32, opts ebpf.CollectionOptions) error {
	for i := range copies {
		if err := setCopy(spec, i, copies); err != nil {
			return err
		}
		// A struct of its own names only what is needed here. With bpfObjects cilium/ebpf would map
		// the constants until the next garbage collection; bpfPrograms has the programs for
		// commands too, which are loaded only once.
		var o struct {
			Exit *ebpf.Program `ebpf:"proctrace_exit"`
			Exec *ebpf.Program `ebpf:"proctrace_exec"`
			Fork *ebpf.Program `ebpf:"proctrace_fork"`
		}
		if err := spec.LoadAndAssign(&o, &opts); err != nil {
			return err
		}
		for h, p := range []*ebpf.Program{o.Exit, o.Exec, o.Fork} {
			t.programs[h] = append(t.programs[h], p)
		}
	}
	set, err := loadHandlers(spec, copies, opts)
	if err != nil {
		return err
	}
	return errors.Join(set.install(t.handlers), set.close())
}

// setCopy sets the constants of one of the copies.
func setCopy(spec *ebpf.CollectionSpec, copy, copies uint32) error {
	return errors.Join(spec.Variables[bpfVarCopies].Set(copies), spec.Variables[bpfVarCopy].Set(copy))
}

// Attach starts the tracing. The tracing ends with Close or the end of the process or, if the
// Tracer is pinned, with [Remove]. A Tracer can be attached once; one that [Open] returned is
// attached already.
func (t *Tracer) Attach() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return fmt.Errorf("attach proctrace: %w", os.ErrClosed)
	case t.attached:
		return errors.New("attach proctrace: already attached")
	}
	if t.control != nil {
		if err := t.control.listen(); err != nil {
			return fmt.Errorf("attach proctrace: %w", err)
		}
	}
	for i, h := range hooks {
		// The kernel calls programs in the order of attaching (kernel/tracepoint.c, func_add).
		for _, p := range t.programs[i] {
			l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.tracepoint, Program: p})
			if err != nil {
				t.detach()
				return fmt.Errorf("attach %s to %s: %w", h.name, h.tracepoint, err)
			}
			t.links = append(t.links, l)
		}
	}
	if t.table != nil {
		if err := t.table.fill(); err != nil {
			t.detach()
			return fmt.Errorf("attach proctrace: list processes: %w", err)
		}
	}
	t.attached = true
	return nil
}

// detach closes the links in reverse order.
func (t *Tracer) detach() {
	for i := len(t.links); i > 0; i-- {
		t.links[i-1].Close()
	}
	t.links = nil
}

// Events returns the ring, for example for consumer.NewReader. The Tracer owns and closes it.
func (t *Tracer) Events() *ebpf.Map { return t.events }

// Close releases the maps and programs and stops the tracing, unless the Tracer is pinned. It
// may be called more than once; later calls of other methods return an error matching
// [os.ErrClosed].
func (t *Tracer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.detach()
	for _, copies := range t.programs {
		for _, p := range copies {
			p.Close()
		}
	}
	if t.control != nil {
		t.control.close()
	}
	switch {
	case t.table != nil:
		t.table.close()
	case t.processes != nil:
		t.processes.Close()
	}
	t.handlers.Close()
	t.counters.Close()
	t.events.Close()
	return nil
}
