package proctrace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/tracering"
	"github.com/rbtool/rbtool/internal/explain"
)

// noStack mirrors NO_STACK of bpf/headers/proctrace.h.
const noStack = -1

var (
	errNoStacks  = explain.Error(fs.ErrNotExist, "stacks were not asked for")
	errStackGone = explain.Error(unix.EFAULT, "stack is gone")
	errStackLost = explain.Error(unix.EEXIST, "no room: another stack has its slot")
)

// stackError returns why an event has no stack, or nil if id is the id of a stack.
func stackError(id int32) error {
	switch {
	case id >= 0:
		return nil
	case id == noStack:
		return errNoStacks
	case id == -int32(unix.EFAULT):
		return errStackGone
	case id == -int32(unix.EEXIST):
		return errStackLost
	}
	return unix.Errno(-id)
}

// Frame is one call in a user stack. Either BuildID or IP is set.
type Frame struct {
	// BuildID is the GNU build id of the file, and Offset the return address in the file, in bytes.
	// The kernel looks for build ids only in PT_NOTE segments (lib/buildid.c). Go's linker puts no
	// build id there.
	BuildID []byte
	Offset  uint64

	// IP is the return address in the process if BuildID is nil.
	IP uint64
}

// Stacks resolves the stack ids in the events of a tracer. The stacks exist as long as the tracer
// or the Stacks. Any number of goroutines may call Kernel and User at once.
type Stacks struct{ kernel, user *ebpf.Map }

// StacksOf returns the stacks of the tracer that writes to ring, which any process may have
// started. The caller closes the Stacks. The error matches [fs.ErrNotExist] if no tracer writes to
// the ring, or if the tracer takes no stacks. StacksOf needs CAP_SYS_ADMIN.
func StacksOf(ring *ebpf.Map) (*Stacks, error) {
	maps := make(map[string]*ebpf.Map)
	err := tracering.Visit(ring, func(p *ebpf.Program, record string) error {
		if record != Exit.String() { // only the program for exits uses all the maps
			return nil
		}
		return mapsOf(p, maps)
	})
	s := &Stacks{maps[bpfMapKernelStacks], maps[bpfMapUserStacks]}
	switch {
	case errors.Is(err, tracering.ErrNotTraced), errors.Is(err, tracering.ErrStopped):
		err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	case err == nil && !hasStacks(maps):
		err = errNoStacks
	}
	for _, m := range maps {
		if err != nil || m != s.kernel && m != s.user {
			m.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find stacks of proctrace: %w", err)
	}
	return s, nil
}

// Close releases the descriptors of the maps. Call it after the last call of Kernel and User has
// returned. It is idempotent.
func (s *Stacks) Close() error { return errors.Join(s.kernel.Close(), s.user.Close()) }

// Kernel returns the return addresses of a kernel stack, innermost first. If id is negative, the
// error says why there is no stack: it matches [fs.ErrNotExist] for -1, as the tracer takes no
// stacks, and otherwise the errno that id encodes. The error also matches fs.ErrNotExist if no
// stack has the id.
func (s *Stacks) Kernel(id int32) ([]uint64, error) {
	b, err := lookupStack(s.kernel, id)
	var ips []uint64
	for ; len(b) >= 8; b = b[8:] {
		if ip := binary.NativeEndian.Uint64(b); ip != 0 {
			ips = append(ips, ip)
		}
	}
	return ips, err
}

// Values of the field status of struct bpf_stack_build_id (include/uapi/linux/bpf.h).
const (
	frameBuildID = 1
	frameIP      = 2
)

// User returns the frames of a user stack, innermost first. For errors see [Stacks.Kernel].
func (s *Stacks) User(id int32) ([]Frame, error) {
	const size, idSize = 32, 20 // BPF_BUILD_ID_SIZE
	b, err := lookupStack(s.user, id)
	var frames []Frame
	for ; len(b) >= size; b = b[size:] {
		where := binary.NativeEndian.Uint64(b[size-8:])
		switch binary.NativeEndian.Uint32(b) {
		case frameBuildID:
			frames = append(frames, Frame{BuildID: append([]byte{}, b[4:4+idSize]...), Offset: where})
		case frameIP:
			frames = append(frames, Frame{IP: where})
		}
	}
	return frames, err
}

func lookupStack(m *ebpf.Map, id int32) ([]byte, error) {
	if err := stackError(id); err != nil {
		return nil, err
	}
	b, err := m.LookupBytes(uint32(id))
	if err == nil && b == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("look up stack %d: %w", id, err)
	}
	return b, nil
}

// hasStacks reports whether the tracer with these maps takes stacks.
func hasStacks(maps map[string]*ebpf.Map) bool {
	m := maps[bpfMapKernelStacks]
	return m != nil && m.Type() == ebpf.StackTrace
}

// setStacks sets in the spec whether the programs take stacks, and the number of slots for kernel
// and for user stacks; 0 leaves the number in the spec.
func setStacks(spec *ebpf.CollectionSpec, wanted bool, slots uint32) error {
	for _, name := range []string{bpfMapKernelStacks, bpfMapUserStacks} {
		m := spec.Maps[name]
		if slots > 0 {
			m.MaxEntries = slots
		}
		if !wanted {
			// The programs do not use the map, but refer to it: make it a map type that every
			// kernel has.
			m.Type, m.MaxEntries, m.Flags = ebpf.Array, 1, 0
		}
	}
	return spec.Variables[bpfVarWithStacks].Set(wanted)
}
