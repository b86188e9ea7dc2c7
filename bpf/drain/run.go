package drain

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/ring"
)

var (
	// ErrContended reports that another run of the same Drain was going on, perhaps by its timer
	// or tracepoint.
	ErrContended = errors.New("another run of this drain is going on")

	// ErrBusy reports that another program was draining the user ring at the time.
	ErrBusy = errors.New("another program drains the ring")

	// ErrAside reports that the target has no room for the sample kept aside, see the package
	// comment.
	ErrAside = errors.New("no room in the target for the sample kept aside")
)

// errMalformed means that the producer has left the user ring inconsistent. The kernel drains
// nothing more until a producer repairs it.
var errMalformed = explain.Error(ring.ErrCorrupt, "the ring is malformed")

// drainErrors explains the errnos of bpf_user_ringbuf_drain (kernel/bpf/ringbuf.c).
var drainErrors = map[unix.Errno]error{
	unix.EBUSY:  ErrBusy,
	unix.EINVAL: fmt.Errorf("%w: its producer position is not a multiple of 8, or a sample reaches beyond it", errMalformed),
	unix.E2BIG:  fmt.Errorf("%w: a sample is larger than the ring or than 16 MiB - 1", errMalformed),
}

// RunOptions configure one run. With the zero value it takes all samples, up to the 128 Ki,
// discarded ones included, that the kernel takes in a run.
type RunOptions struct {
	Limit uint64 // number of samples after which the run stops; 0: only the kernel's limit
	Flags uint64 // whether the run wakes a producer, as in Options
}

// Result tells what one run did. It does not count discarded samples.
type Result struct {
	Samples, Bytes            uint64 // taken out of the user ring; Bytes without headers
	Delivered, DeliveredBytes uint64 // written to the target, including a sample that an earlier run kept aside
	TooLarge                  uint64 // samples dropped: longer than MaxSample
	Full                      bool   // the run ended at a sample without room in the target
}

// Run does one run on the calling thread, and returns when it is done. It does not wait for samples
// or for room. The error matches [ErrContended], [ErrBusy], or userprod.ErrCorrupt if the producer
// side of the user ring is inconsistent. If there is an error, the Result has what the run did
// before it.
func (d *Drain) Run(opts RunOptions) (Result, error) {
	if err := d.use(); err != nil {
		return Result{}, fmt.Errorf("drain: %w", err)
	}
	// d is not locked: runs may overlap, and the program has a lock of its own.
	prog, err := d.program(bpfProgDrainOnce)
	if err == nil {
		prog, err = prog.Clone()
	}
	d.mu.Unlock()
	if err != nil {
		return Result{}, fmt.Errorf("drain: %w", err)
	}
	defer prog.Close()
	res, err := run(prog, bpfDrainArg{Limit: opts.Limit, Flags: opts.Flags})
	if err != nil {
		return res, fmt.Errorf("drain: %w", err)
	}
	return res, nil
}

func run(prog *ebpf.Program, arg bpfDrainArg) (Result, error) {
	ret, err := prog.Run(&ebpf.RunOptions{Context: &arg, ContextOut: &arg})
	switch {
	case err != nil:
		return Result{}, fmt.Errorf("run program: %w", err)
	case -int32(ret) == int32(unix.EALREADY):
		return Result{}, ErrContended
	case ret != 0:
		return Result{}, fmt.Errorf("program returned: %w", unix.Errno(-int32(ret)))
	}
	r := arg.Run
	res := Result{
		Samples: r.Samples, Bytes: r.Bytes,
		Delivered: r.Delivered, DeliveredBytes: r.DeliveredBytes,
		TooLarge: r.TooLarge, Full: r.Full != 0,
	}
	if r.Result >= 0 {
		return res, nil
	}
	errno := unix.Errno(-r.Result)
	if known := drainErrors[errno]; known != nil {
		return res, explain.Error(errors.Join(known, errno), "%v", known)
	}
	return res, errno
}

// deliverAside delivers the sample kept aside, if there is one. It waits for other runs to end.
func (d *Drain) deliverAside() error {
	state, err := d.state()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		res, err := run(d.programs[bpfProgDrainOnce], bpfDrainArg{OnlyAside: 1})
		if errors.Is(err, ErrContended) && time.Now().Before(deadline) {
			continue // the other run is going on: nothing signals its end, so try again
		}
		if err == nil && res.Full {
			err = fmt.Errorf("%w: %d bytes", ErrAside, state.Len)
		}
		return err
	}
}
