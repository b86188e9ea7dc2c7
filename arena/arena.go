package arena

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/mapflag"
)

// MaxSize is the size of the largest arena, in bytes: what 32-bit offsets reach.
const MaxSize = arenamem.Window

// Options say what arena to create.
type Options struct {
	Name string // shown by the kernel, up to 15 characters
	Size uint64 // bytes, a multiple of the page size, at most MaxSize
	// Base is the user address, a multiple of the page size, from which Size bytes
	// do not cross a multiple of 4 GiB. Zero picks a window of 4 GiB that is free in this
	// process and, as far as this process may see, no other arena's.
	Base uint64
	// SegvOnFault makes a touch of a page that no program allocated a fault, where
	// without it the touch allocates the page.
	SegvOnFault bool
	// NoUserConv makes programs store pointers without their upper 32 bits.
	NoUserConv bool
}

// Arena is one arena map, mapped into this process.
//
// Its methods, and those of what lies in it, may be called by many goroutines at
// once; Close may not be called together with them.
//
// Only Close removes the mapping. An unreachable Arena stays mapped until the process ends, so that
// pointers from [Ptr.In], [Arena.Bytes] and [Nodes] stay valid; the garbage collector closes only its
// descriptors.
type Arena struct {
	mem arenamem.Memory
	handle
}

// handle gives packages container and loader the arena's memory.
type handle = arenamem.Handle

// Create makes an arena and maps it. It exists until it is closed, unmapped
// and unpinned everywhere.
//
// Errors: [ebpf.ErrNotSupported], [ErrAddressTaken], an EPERM without CAP_BPF, ENOMEM.
func Create(opts Options) (*Arena, error) {
	a, err := create(opts)
	if err != nil {
		return nil, fmt.Errorf("create arena %q: %w", opts.Name, err)
	}
	return a, nil
}

func create(opts Options) (*Arena, error) {
	if err := arenamem.Check(opts.Size, opts.Base); err != nil {
		return nil, err
	}
	if opts.Base == 0 {
		base, err := arenamem.FreeWindow()
		if err != nil {
			return nil, err
		}
		opts.Base = base
	}
	m, err := ebpf.NewMap(opts.spec())
	if err != nil {
		return nil, explainCreate(err)
	}
	a, err := attach(m, opts.Base)
	if err != nil {
		m.Close()
		return nil, err
	}
	return a, nil
}

func (o *Options) spec() *ebpf.MapSpec {
	spec := &ebpf.MapSpec{
		Name:       o.Name,
		Type:       ebpf.Arena,
		MaxEntries: uint32(o.Size / uint64(os.Getpagesize())),
		Flags:      unix.BPF_F_MMAPABLE,
		MapExtra:   o.Base,
	}
	if o.SegvOnFault {
		spec.Flags |= mapflag.SegvOnFault
	}
	if o.NoUserConv {
		spec.Flags |= mapflag.NoUserConv
	}
	return spec
}

// explainCreate says whether the kernel lacks arenas, of which its errno is EINVAL.
func explainCreate(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (needs CAP_BPF)", unix.EPERM)
	}
	if probe := features.HaveMapType(ebpf.Arena); errors.Is(probe, ebpf.ErrNotSupported) {
		return explain.Error(errors.Join(ebpf.ErrNotSupported, err),
			"the kernel has no arena maps (Linux 6.9, x86-64 or arm64, with the JIT)")
	}
	return err
}

// Open maps the arena m, which stays the caller's. Its address is the one that it
// was created with; else the one where a process first mapped it; else, where
// none did yet, a free window.
//
// Errors: [ErrAddressTaken] when something else is mapped at the address.
func Open(m *ebpf.Map) (*Arena, error) {
	a, err := open(m)
	if err != nil {
		return nil, fmt.Errorf("open arena: %w", err)
	}
	return a, nil
}

func open(m *ebpf.Map) (*Arena, error) {
	if m.Type() != ebpf.Arena {
		return nil, fmt.Errorf("map is a %s, not an %s", m.Type(), ebpf.Arena)
	}
	own, err := m.Clone()
	if err != nil {
		return nil, err
	}
	base, err := arenamem.Address(own)
	if err == nil && base == 0 {
		base, err = arenamem.FreeWindow()
	}
	if err != nil {
		own.Close()
		return nil, err
	}
	a, err := attach(own, base)
	if err != nil {
		own.Close()
		return nil, err
	}
	return a, nil
}

// attach maps m, which becomes the arena's.
func attach(m *ebpf.Map, base uint64) (*Arena, error) {
	a := &Arena{}
	if err := a.mem.MapAt(m, base); err != nil {
		return nil, err
	}
	a.handle = arenamem.NewHandle(&a.mem)
	// No finalizer: pointers into the mapping may outlive the Arena.
	return a, nil
}

// Map returns the arena's map, which the Arena owns.
func (a *Arena) Map() *ebpf.Map { return a.mem.Map }

// Base returns the user address of the arena's first byte.
func (a *Arena) Base() uint64 { return a.mem.Base }

// Size returns the arena's size in bytes, 0 after Close.
func (a *Arena) Size() uint64 { return a.mem.Size }

// Close unmaps the arena from this process: all pointers into it become invalid.
// What other processes, programs and pins hold of it stays. It is idempotent;
// every later use of the Arena gives an error that is [os.ErrClosed].
func (a *Arena) Close() error { return a.mem.Close() }
