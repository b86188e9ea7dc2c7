package ringcalls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kallsyms"
)

// onlineCPUs lists the CPUs on which breakpoints can be set.
const onlineCPUs = "/sys/devices/system/cpu/online"

const hwBreakpointX = 4 // HW_BREAKPOINT_X (include/uapi/linux/hw_breakpoint.h)

// processor says how an execution breakpoint works on it.
type processor struct {
	length   uint64 // of an execution breakpoint, in bytes (arch/*/kernel/hw_breakpoint.c)
	steps    bool   // the programs see a call after its first instruction; the breakpoint can be hit several times for it
	programs []string
	probes   []string // what attaching them is called; the first that can be attached is used
	sampling string   // program of the events, if no other can be attached; empty if there is none
	limit    string
}

var processors = map[string]processor{
	"amd64": {
		length: 8, sampling: bpfProgBreakpointX86,
		programs: []string{bpfProgDebugException}, probes: []string{"attach fentry to hw_breakpoint_exceptions_notify"},
		limit: "Calls of programs that run in a non-maskable interrupt are not seen: breakpoints are off there.",
	},
	"arm64": {
		length: 4, steps: true,
		programs: []string{bpfProgStepEnded, bpfProgStepEnded617},
		probes:   []string{"attach fentry to reinstall_suspended_bps", "attach fentry to try_step_suspended_breakpoints"},
		limit:    "Calls of programs of kprobes, or that run in a non-maskable interrupt, are not seen: breakpoints are off there.",
	},
}

// breakpoints are the perf events of each CPU.
type breakpoints struct {
	cpu       *processor
	addresses []uint64
	program   *ebpf.Program
	link      link.Link       // nil: the events run the program
	events    map[int][]event // by CPU
	gone      uint64          // hits of events that are closed
	looked    time.Time       // when follow last looked
	came      []Arrival       // since they were last asked for
}

// event is a breakpoint of a CPU, as it was last read. The kernel removes it when the CPU goes offline; then its time stands still.
type event struct {
	fd      int
	hits    uint64
	enabled uint64 // ns
	before  uint64 // enabled when follow last looked
}

// Arrival is a CPU that came online.
type Arrival struct {
	CPU int
	At  time.Time // since when its calls are seen
}

func openBreakpoint(cfg Config) (*Counter, error) {
	cpu, known := processors[runtime.GOARCH]
	if !known {
		return nil, &ProbeError{"set execution breakpoints on " + runtime.GOARCH, errors.ErrUnsupported}
	}
	functions, err := helperFunctions()
	if err != nil {
		return nil, &ProbeError{"look up " + helpers[0] + " in " + kallsyms.Path, err}
	}
	for i, program := range cpu.programs {
		var c *Counter
		if c, err = openBreakpoints(cfg, &cpu, functions, program, cpu.probes[i]); err == nil {
			return c, nil
		}
	}
	if cpu.sampling == "" {
		return nil, err
	}
	c, other := openBreakpoints(cfg, &cpu, functions, cpu.sampling, "load a perf_event program")
	if other != nil {
		return nil, err
	}
	c.limits = append(c.limits, fmt.Sprintf("Calls of programs of kprobes, tracepoints and perf events are counted as missed: the kernel "+
		"runs no perf_event program for them (%v).", err))
	return c, nil
}

// openBreakpoints sets breakpoints for a program. probe is what is tried.
func openBreakpoints(cfg Config, cpu *processor, functions [len(helpers)]function, program, probe string) (*Counter, error) {
	b := &breakpoints{cpu: cpu, events: map[int][]event{}}
	var first, last [len(helpers)]uint64
	for i, f := range functions {
		if f.start == 0 {
			continue
		}
		b.addresses = append(b.addresses, f.start)
		first[i], last[i] = f.start, f.start
		if cpu.steps {
			first[i], last[i] = f.start+1, f.end-1
		}
	}
	objs, err := load(cfg, map[string]any{bpfVarFirstAddress: first, bpfVarLastAddress: last}, program)
	if err != nil {
		return nil, probed(probe, err)
	}
	c := &Counter{objs: *objs, attached: b}
	b.program = objs.progs[program]
	if program != cpu.sampling {
		if b.link, err = link.AttachTracing(link.TracingOptions{Program: b.program}); err != nil {
			return nil, errors.Join(probed(probe, err), c.Close())
		}
	}
	if err := b.follow(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	b.came = nil
	if err := c.rehearse(); err != nil {
		hits, _ := b.hits()
		err = fmt.Errorf("%w (%d hits of breakpoints)", err, hits)
		return nil, errors.Join(&ProbeError{"count own calls with breakpoints", err}, c.Close())
	}
	c.limits = append(c.limits, cpu.limit)
	// As in Read, the kernel's counts first.
	hits, missed, err := b.calls()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s, err := c.read()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.missed = max(missed, hits-min(hits, s.Hits))
	return c, nil
}

// function is where a function of the kernel begins, and the next one.
type function struct{ start, end uint64 }

// helperFunctions returns the helpers; the zero function for one that the kernel lacks.
func helperFunctions() (found [len(helpers)]function, err error) {
	f, err := os.Open(kallsyms.Path)
	if err != nil {
		return found, err
	}
	defer f.Close()
	before := -1 // index of the helper whose end is not known yet
	for fn, err := range kallsyms.Functions(f) {
		if err != nil {
			return found, err
		}
		if fn.Module != nil {
			break
		}
		i := slices.Index(helpers[:], string(fn.Name))
		if i < 0 && before < 0 {
			continue
		}
		addr, ok := fn.Address()
		if !ok {
			return found, kallsyms.ErrHidden
		}
		if before >= 0 && addr > found[before].start { // not another name
			found[before].end = addr
			before = -1
		}
		if i >= 0 {
			found[i].start = addr
			before = i
		}
	}
	if found[0].end == 0 || found[2].end == 0 {
		return found, errors.New("no such function")
	}
	return found, nil
}

// leastApart is how far two readings of an event must be apart for its time to have passed meanwhile, whatever the kernel's clock.
const leastApart = 50 * time.Millisecond

// follow sets breakpoints on CPUs that came online, and closes the events of those that went offline, be they back or not.
func (b *breakpoints) follow() error {
	text, err := os.ReadFile(onlineCPUs)
	if err != nil {
		return err
	}
	online, err := parseCPUs(string(text))
	if err != nil {
		return fmt.Errorf("parse %s: %w", onlineCPUs, err)
	}
	if time.Since(b.looked) < leastApart {
		return nil
	}
	b.looked = time.Now()
	for _, cpu := range slices.Sorted(maps.Keys(b.events)) {
		hits, err := readAll(b.events[cpu])
		if err != nil {
			return err
		}
		if !passed(b.events[cpu]) || !slices.Contains(online, cpu) {
			b.gone += hits
			if err := b.drop(cpu); err != nil {
				return err
			}
		}
	}
	for _, cpu := range online {
		if _, has := b.events[cpu]; has {
			continue
		}
		if err := b.set(cpu); err != nil {
			return err
		}
		b.came = append(b.came, Arrival{cpu, time.Now()})
	}
	return nil
}

// set sets the breakpoints of a CPU.
func (b *breakpoints) set(cpu int) error {
	for _, addr := range b.addresses {
		fd, err := b.open(cpu, addr)
		if errors.Is(err, unix.ENODEV) { // it went offline again
			return b.drop(cpu)
		}
		if err != nil {
			probe := fmt.Sprintf("set an execution breakpoint on CPU %d (perf_event_open)", cpu)
			return errors.Join(&ProbeError{probe, err}, b.drop(cpu))
		}
		b.events[cpu] = append(b.events[cpu], event{fd: fd})
	}
	return nil
}

func (b *breakpoints) open(cpu int, addr uint64) (int, error) {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_BREAKPOINT, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bp_type: hwBreakpointX, Ext1: addr, Ext2: b.cpu.length, Bits: unix.PerfBitExcludeUser | unix.PerfBitExcludeHv,
		Read_format: unix.PERF_FORMAT_TOTAL_TIME_ENABLED,
	}
	if b.link == nil {
		attr.Sample, attr.Wakeup = 1, 1
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil || b.link != nil {
		return fd, err
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, b.program.FD()); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// drop closes the events of a CPU.
func (b *breakpoints) drop(cpu int) (err error) {
	for _, e := range b.events[cpu] {
		err = errors.Join(err, unix.Close(e.fd))
	}
	delete(b.events, cpu)
	return err
}

// calls returns the hits of all breakpoints, or, if they are not the number of calls, the runs of the program that the kernel left out.
func (b *breakpoints) calls() (hits, missed uint64, err error) {
	if !b.cpu.steps {
		hits, err = b.hits()
		return hits, 0, err
	}
	s, err := b.program.Stats()
	if err != nil {
		return 0, 0, fmt.Errorf("read missed runs: %w", err)
	}
	return 0, s.RecursionMisses, nil
}

// hits returns the hits of all breakpoints. The kernel counts a hit before it looks for a program (kernel/events/core.c,
// perf_swevent_event).
func (b *breakpoints) hits() (sum uint64, err error) {
	sum = b.gone
	for _, events := range b.events {
		n, err := readAll(events)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// readAll reads the events of a CPU and returns the sum of their hits.
func readAll(events []event) (hits uint64, err error) {
	for i := range events {
		e := &events[i]
		var b [16]byte // PERF_FORMAT_TOTAL_TIME_ENABLED
		n, err := unix.Read(e.fd, b[:])
		if err != nil {
			return 0, fmt.Errorf("read hits of a breakpoint: %w", err)
		}
		if n == len(b) { // else it is in an error state
			e.hits, e.enabled = binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])
		}
		hits += e.hits
	}
	return hits, nil
}

// passed reports whether the time of all events has passed since it was last asked.
func passed(events []event) bool {
	alive := true
	for i := range events {
		e := &events[i]
		alive = alive && e.enabled > e.before
		e.before = e.enabled
	}
	return alive
}

// Close removes the breakpoints. It is idempotent.
func (b *breakpoints) Close() (err error) {
	for _, cpu := range slices.Sorted(maps.Keys(b.events)) {
		err = errors.Join(err, b.drop(cpu))
	}
	if b.link != nil {
		err = errors.Join(err, b.link.Close())
		b.link = nil
	}
	return err
}

// parseCPUs parses a list of CPUs such as "0-3,8".
func parseCPUs(text string) (cpus []int, err error) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			return nil, err
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			return nil, err
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
