package producer

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

	"github.com/rbtool/rbtool/internal/object"
)

// programs loads the programs of the object, each at its first use, and owns them.
type programs struct {
	ring, state *ebpf.Map // not owned

	mu     sync.Mutex
	loaded map[variant]*ebpf.Program // nil when closed
}

// variant is the name of a program and the values of its constants.
type variant struct {
	name                    string
	steps                   uint32
	size, maxSize           uint32
	fast                    bool
	discardEvery, wakeBytes uint64
}

// get returns the program of a variant, and loads it first if necessary. The program is valid until
// close.
func (p *programs) get(v variant) (*ebpf.Program, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded == nil {
		return nil, os.ErrClosed
	}
	if prog := p.loaded[v]; prog != nil {
		return prog, nil
	}
	prog, err := p.load(v)
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", v.name, err)
	}
	p.loaded[v] = prog
	return prog, nil
}

var newSpec = object.Copies(loadBpf)

func (p *programs) load(v variant) (*ebpf.Program, error) {
	spec, err := newSpec()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		spec.Variables[bpfVarSteps].Set(v.steps),
		spec.Variables[bpfVarSize].Set(v.size),
		spec.Variables[bpfVarMaxSize].Set(v.maxSize),
		spec.Variables[bpfVarFast].Set(v.fast),
		spec.Variables[bpfVarDiscardEvery].Set(v.discardEvery),
		spec.Variables[bpfVarWakeBytes].Set(v.wakeBytes),
	)
	if err != nil {
		return nil, err
	}
	// cilium/ebpf requires that the map that replaces the spec's has the same MaxEntries.
	spec.Maps[bpfMapRing].MaxEntries = p.ring.MaxEntries()
	spec.Maps[bpfMapRing].Flags = p.ring.Flags()
	// LoadAndAssign loads only the objects that objs names. NewCollection would also map the
	// globals until the next garbage collection.
	var objs struct {
		Program *ebpf.Program `ebpf:"program"`
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{"program": spec.Programs[v.name]}
	err = spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{bpfMapRing: p.ring, stateSection: p.state},
	})
	return objs.Program, err
}

func (p *programs) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, prog := range p.loaded {
		errs = append(errs, prog.Close())
	}
	p.loaded = nil
	return errors.Join(errs...)
}

// The number of steps of a program: of records that one run produces. The verifier checks each
// step, which takes 70 us, and refuses programs with more than 8192 pending branches
// (kernel/bpf/verifier.c, BPF_COMPLEXITY_LIMIT_JMP_SEQ); a step adds up to six. A run is a system
// call of 0.8 us: with 1024 steps that is less than a nanosecond a record. A job of fewer records
// uses fewer steps.
const (
	pingSteps = 1
	runSteps  = 16
	fastSteps = 1024
)

// variant returns the program for the job, or an error that names the feature that the kernel does
// not have.
func (j Job) variant(steps uint32) (variant, error) {
	name, err := j.Op.program()
	return variant{
		name: name, steps: steps,
		size: j.Size, maxSize: j.MaxSize, fast: j.Fast,
		discardEvery: j.DiscardEvery, wakeBytes: j.WakeBytes,
	}, err
}

func (op Op) program() (string, error) {
	if op == Dynptr {
		return bpfProgDynptrSyscall, haveHelper(asm.FnRingbufReserveDynptr, "bpf_ringbuf_reserve_dynptr")
	}
	syscall, rawTP := bpfProgReserveSyscall, bpfProgReserveRawTp
	if op == Output {
		syscall, rawTP = bpfProgOutputSyscall, bpfProgOutputRawTp
	}
	switch err := features.HaveProgramType(ebpf.Syscall); {
	case err == nil:
		return syscall, nil
	case errors.Is(err, ebpf.ErrNotSupported):
		return rawTP, nil
	default:
		return "", fmt.Errorf("probe syscall programs: %w", err)
	}
}

// haveHelper returns an error matching ebpf.ErrNotSupported if a syscall program cannot call
// helper. name is its name in C.
func haveHelper(helper asm.BuiltinFunc, name string) error {
	if err := features.HaveProgramHelper(ebpf.Syscall, helper); err != nil {
		return fmt.Errorf("probe %s: %w", name, err)
	}
	return nil
}
