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

// MaxSize is the size of the largest arena, in bytes.
const MaxSize = 1 << 32

// Options describe the arena to create.
type Options struct {
	Name string // the map's name in the kernel, at most 15 characters
	Size uint64 // bytes, a multiple of the page size, at most MaxSize; required
	// Base is the user address of the first byte, a multiple of the page size. The arena must not cross
	// a multiple of 4 GiB. Zero picks a 4 GiB window that is free in this process and that no other
	// arena on the host uses. Without CAP_SYS_ADMIN, Create cannot see other arenas.
	Base uint64
	// SegvOnFault makes an access of a process to an absent page fault (BPF_F_SEGV_ON_FAULT). Without
	// it, the access allocates the page.
	SegvOnFault bool
	// NoUserConv makes programs store pointers into the arena without their upper 32 bits
	// (BPF_F_NO_USER_CONV). A [Ptr] into such an arena may have any upper bits: they are ignored.
	NoUserConv bool
}

// Arena is an arena map that is mapped into this process. The caller must close it.
//
// Its methods may be called by many goroutines at once, except that Close must not run together with
// other calls on the arena or its contents.
//
// Only Close removes the mapping. An unreachable Arena stays mapped until the process ends, so that
// pointers into it stay valid; the garbage collector closes only its descriptors.
type Arena struct {
	mem arenamem.Memory
	handle
}

// handle gives packages container and loader the arena's memory.
type handle = arenamem.Handle

// Create creates an arena and maps it. The arena exists until it is closed, unmapped and unpinned
// everywhere.
//
// The error matches EINVAL, E2BIG or ERANGE (package unix) for options that the kernel refuses, EPERM
// without CAP_BPF, [ebpf.ErrNotSupported] if the kernel has no arenas, [ErrAddressTaken] if something is
// mapped at Base in this process, or ENOMEM.
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

// explainCreate explains why the kernel refused to create an arena. A kernel without arenas returns
// EINVAL, as for wrong options.
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

// Open maps the arena m, a map of type Arena that was opened for reading and writing. The caller still
// owns and closes m. The arena is mapped at the address that was given when it was created, or else at
// that of its first mapping in any process. If it has neither, Open picks a free window.
//
// The error matches [ErrAddressTaken] if something is mapped at the address in this process, such as
// another Arena of the same map. If no address was given, Open runs a program to find it, and the error
// matches [os.ErrPermission] without CAP_BPF and CAP_PERFMON.
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

// attach maps m. On success the Arena owns m.
func attach(m *ebpf.Map, base uint64) (*Arena, error) {
	a := &Arena{}
	if err := a.mem.MapAt(m, base); err != nil {
		return nil, err
	}
	a.handle = arenamem.NewHandle(&a.mem)
	// No finalizer: pointers into the mapping may outlive the Arena.
	return a, nil
}

// Map returns the arena's map. The Arena owns it, and Close closes it: do not close it.
func (a *Arena) Map() *ebpf.Map { return a.mem.Map }

// Base returns the user address of the arena's first byte, after Close too.
func (a *Arena) Base() uint64 { return a.mem.Base }

// Size returns the arena's size in bytes, 0 after Close.
func (a *Arena) Size() uint64 { return a.mem.Size }

// Close unmaps the arena from this process. All pointers into it become invalid. The arena itself exists
// as long as other processes, programs or pins hold it. Close is idempotent. Later operations on the
// arena and its contents return an error matching [os.ErrClosed].
func (a *Arena) Close() error { return a.mem.Close() }
