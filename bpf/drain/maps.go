package drain

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/object"
)

const (
	// headerSize is BPF_RINGBUF_HDR_SZ, the size in bytes of the header before each record and
	// sample.
	headerSize = 8
	// maxDynptr is DYNPTR_MAX_SIZE (kernel/bpf/helpers.c), in bytes.
	maxDynptr = 1<<24 - 1
	// maxChunk is the largest element of the slot, in bytes. A longer sample takes several
	// elements.
	maxChunk = 64 << 10
)

// constants has the values of the programs' constants, which are set before loading.
type constants struct {
	toRing      bool
	maxSample   uint32
	chunk       uint32
	chunks      uint32
	ringBytes   uint64
	overwrites  bool
	kernelLimit uint64
	kernelFlags uint64
}

func newConstants(user *ebpf.Map, opts Options) constants {
	c := constants{kernelLimit: defaultLimit, kernelFlags: opts.Flags, chunk: 8, chunks: 1}
	if opts.Limit > 0 {
		c.kernelLimit = uint64(opts.Limit)
	}
	if opts.To == nil {
		return c
	}
	c.toRing, c.ringBytes = true, uint64(opts.To.MaxEntries())
	c.overwrites = opts.To.Flags()&mapflag.RBOverwrite != 0
	c.maxSample = maxSample(user.MaxEntries(), opts.To.MaxEntries())
	if opts.MaxSample > 0 {
		c.maxSample = min(c.maxSample, opts.MaxSample)
	}
	c.chunk = min((c.maxSample+7)&^7, maxChunk)
	c.chunks = (c.maxSample + c.chunk - 1) / c.chunk
	return c
}

// maxSample returns the length of the longest sample that rings of these sizes hold, all in
// bytes. A user ring can be filled to the last byte; in a kernel ring 8 bytes stay free
// (kernel/bpf/ringbuf.c, bpf_ringbuf_has_space: the distance of its positions is less than its
// size).
func maxSample(user, target uint32) uint32 {
	return min(user-headerSize, target-8-headerSize, maxDynptr)
}

// stateSection is the name of the map with the global variables of the object.
const stateSection = ".bss"

// maps has the maps of the object by name, and owns them.
type maps map[string]*ebpf.Map

// newMaps creates the maps of a Drain and clones the two rings.
func newMaps(user, target *ebpf.Map, c constants) (_ maps, err error) {
	spec, err := specFor(c)
	if err != nil {
		return nil, err
	}
	m := maps{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	for name, clone := range map[string]*ebpf.Map{bpfMapUser: user, bpfMapTarget: target} {
		if clone == nil {
			continue
		}
		if m[name], err = clone.Clone(); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{bpfMapSlot, bpfMapShortSlot, bpfMapCounts, bpfMapTimer, stateSection} {
		if m[name], err = ebpf.NewMap(spec.Maps[name]); err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
	}
	// Open reads MaxSample from here. The state is the section's only variable.
	if err := m[stateSection].Put(uint32(0), bpfDrainState{MaxSample: c.maxSample}); err != nil {
		return nil, fmt.Errorf("write map %s: %w", stateSection, err)
	}
	return m, nil
}

func (m maps) close() error {
	var errs []error
	for _, each := range m {
		errs = append(errs, each.Close())
	}
	return errors.Join(errs...)
}

var newSpec = object.Copies(loadBpf)

// specFor returns the spec of the object with its constants set to c.
func specFor(c constants) (*ebpf.CollectionSpec, error) {
	spec, err := newSpec()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		spec.Variables[bpfVarToRing].Set(c.toRing),
		spec.Variables[bpfVarMaxSample].Set(c.maxSample),
		spec.Variables[bpfVarChunk].Set(c.chunk),
		spec.Variables[bpfVarChunks].Set(c.chunks),
		spec.Variables[bpfVarRingBytes].Set(c.ringBytes),
		spec.Variables[bpfVarOverwrites].Set(c.overwrites),
		spec.Variables[bpfVarKernelLimit].Set(c.kernelLimit),
		spec.Variables[bpfVarKernelFlags].Set(c.kernelFlags),
	)
	spec.Maps[bpfMapSlot].ValueSize = c.chunk
	spec.Maps[bpfMapSlot].MaxEntries = c.chunks
	spec.Maps[stateSection].Flags |= unix.BPF_F_MMAPABLE // cilium/ebpf sets this flag on the map, too
	return spec, err
}

// loadProgram loads one program, which uses the maps m.
func loadProgram(name string, m maps, c constants) (*ebpf.Program, error) {
	spec, err := specFor(c)
	if err != nil {
		return nil, err
	}
	// cilium/ebpf requires that a map that replaces the spec's has the same size.
	for _, ring := range []string{bpfMapUser, bpfMapTarget} {
		if own := m[ring]; own != nil {
			spec.Maps[ring].MaxEntries = own.MaxEntries()
			spec.Maps[ring].Flags = own.Flags()
		} else {
			spec.Maps[ring].MaxEntries = uint32(os.Getpagesize()) // never used, but created
		}
	}
	// LoadAndAssign loads only the objects that objs names.
	var objs struct {
		Program *ebpf.Program `ebpf:"program"`
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{"program": spec.Programs[name]}
	err = spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{MapReplacements: m, Cache: kernelbtf.Cache()})
	return objs.Program, err
}
