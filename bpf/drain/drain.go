package drain

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// defaultLimit is the default of Options.Limit. That many samples take about a third of a
// millisecond.
const defaultLimit = 4096

// Options configure a Drain. With the zero value it counts samples and drops them.
type Options struct {
	// To is the RINGBUF map to deliver to; nil to count and drop samples. The caller still owns the
	// map, and may close it once Load has returned.
	To *ebpf.Map

	// MaxSample is the length of the longest sample to deliver, in bytes, and bounds the kernel
	// memory of the Drain. Longer samples are counted and dropped. Zero means the longest
	// sample that both rings can hold, which is also the limit.
	MaxSample uint32

	// Limit is the number of samples after which a run by timer or tracepoint stops, so that
	// it does not keep the CPU for long. Zero means 4096. The kernel stops after 128 Ki samples,
	// discarded ones included, in any case.
	Limit uint32

	// Flags tell whether a run by timer or tracepoint wakes a producer that waits for room in the
	// user ring: always with unix.BPF_RB_FORCE_WAKEUP, never with unix.BPF_RB_NO_WAKEUP, and with 0
	// only if the run took a sample.
	Flags uint64
}

// Drain is a set of loaded programs for one user ring. Any number of goroutines may call its
// methods at once.
type Drain struct {
	maps     maps
	constant constants

	mu       sync.Mutex
	programs map[string]*ebpf.Program
	link     link.Link // attaches the program to the tracepoint; nil if not attached
	pinned   bool
	closed   bool
}

// Load loads the programs for a USER_RINGBUF map. Nothing is drained before Run, Start or Attach.
// The caller still owns the map, and may close it once Load has returned; the caller closes the
// Drain. The error matches [ebpf.ErrNotSupported] if the kernel lacks a feature.
func Load(user *ebpf.Map, opts Options) (*Drain, error) {
	d, err := load(user, opts)
	if err != nil {
		return nil, fmt.Errorf("load drain: %w", err)
	}
	return d, nil
}

func load(user *ebpf.Map, opts Options) (*Drain, error) {
	if err := opts.check(user); err != nil {
		return nil, err
	}
	d := &Drain{constant: newConstants(user, opts), programs: map[string]*ebpf.Program{}}
	var err error
	if d.maps, err = newMaps(user, opts.To, d.constant); err != nil {
		return nil, err
	}
	// This program is loaded now, so that Load fails if the kernel lacks a feature. Other programs
	// are loaded at their first use.
	if _, err := d.program(bpfProgDrainOnce); err != nil {
		return nil, errors.Join(err, d.maps.close())
	}
	return d, nil
}

func (o Options) check(user *ebpf.Map) error {
	switch {
	case user.Type() != ebpf.UserRingbuf:
		return fmt.Errorf("map is a %s, not a %s", user.Type(), ebpf.UserRingbuf)
	case o.To != nil && o.To.Type() != ebpf.RingBuf:
		return fmt.Errorf("target map is a %s, not a %s", o.To.Type(), ebpf.RingBuf)
	case o.Flags&^(unix.BPF_RB_NO_WAKEUP|unix.BPF_RB_FORCE_WAKEUP) != 0:
		return fmt.Errorf("unknown flags %#x", o.Flags)
	}
	return nil
}

// MaxSample returns the length of the longest sample that is delivered, in bytes; 0 if samples
// are only counted.
func (d *Drain) MaxSample() uint32 { return d.constant.maxSample }

// program returns the program with this name, and loads it at the first call.
func (d *Drain) program(name string) (*ebpf.Program, error) {
	if p := d.programs[name]; p != nil {
		return p, nil
	}
	p, err := loadProgram(name, d.maps, d.constant)
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", name, err)
	}
	d.programs[name] = p
	return p, nil
}

// Close stops timer and tracepoint, unless the Drain is pinned, and releases programs and maps.
// Samples without room in the target stay in the user ring. A sample kept aside (see the
// package comment) is delivered, unless the Drain is pinned; if the target has no room for it, the
// sample is lost and the error matches [ErrAside]. Close may be called more than once; later calls
// of other methods return an error matching [os.ErrClosed].
func (d *Drain) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	var err error
	if !d.pinned {
		err = errors.Join(d.stop(), d.deliverAside())
	}
	d.closed = true
	if d.link != nil {
		err = errors.Join(err, d.link.Close())
	}
	for _, p := range d.programs {
		err = errors.Join(err, p.Close())
	}
	if err = errors.Join(err, d.maps.close()); err != nil {
		return fmt.Errorf("close drain: %w", err)
	}
	return nil
}

// use locks d, or returns an error if d is closed. Without an error the caller must unlock d.
func (d *Drain) use() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return os.ErrClosed
	}
	return nil
}
