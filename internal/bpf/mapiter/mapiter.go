// Package mapiter reads the positions of every ring on the host, and where every
// arena lies, out of the kernel's own structures: with a BPF iterator over all maps,
// which takes one pass and no descriptor or mapping of any of them.
//
// It needs the iterator iter/bpf_map (Linux 5.8), kernel BTF, and CAP_BPF and
// CAP_PERFMON. Package inspect uses it, and mappings where it cannot be used.
//
//	s, err := mapiter.NewScanner()
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	entries, err := s.Scan(nil)
//
// Loading takes the most time: keep a Scanner for repeated scans. One goroutine
// at a time may use a Scanner.
package mapiter

//go:generate go tool bpf2go -target bpfel -go-package mapiter -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type entry bpf mapiter.bpf.c

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/ring"
)

// Entry is one ring or arena.
type Entry struct {
	ID         ebpf.MapID
	Type       ebpf.MapType
	Name       string // at most 15 bytes, may be empty
	MaxEntries uint32 // of a ring bytes, of an arena pages
	Flags      uint32 // BPF_F_*
	MapExtra   uint64
	// Memory is how many bytes the kernel holds for the data: of a ring its
	// data and position pages; of an arena what is allocated in it. It is nil for an
	// arena where the kernel does not count that (before 7.3).
	Memory *uint64
	// Identity is the same for as long as the map lives, and tells it from a later
	// map that was given its id.
	Identity Identity
	// Writers is how many writable mappings of the map there are, in the processes of all
	// pid namespaces: bpf_map.writecnt (kernel/bpf/syscall.c, bpf_map_mmap). A consumer
	// of a ring has one, and so has a producer of a user ring. It is nil if the kernel has no
	// such atomic64_t (before 5.16).
	Writers *uint64

	*Positions // of rings
	*Arena     // of arenas
}

// Identity tells maps apart. It is derived from an address in the kernel: do not
// show it.
type Identity uint64

// Positions are those of a ring, in bytes; see [inspect.Positions].
type Positions struct {
	Consumer, Producer uint64
	Pending            *uint64 // where the kernel has it
	Overwrite          *uint64 // of a ring in overwrite mode
	// Steady says that the consumer did not move between the loads, so that
	// the positions are those of one moment.
	Steady bool
	// Header is the one of the oldest record: at the consumer's position, or at
	// the overwrite position when that is ahead. It is nil when no record can be there.
	Header *ring.Header
}

// Arena is where an arena lies.
type Arena struct {
	// UserBase is the address at which all processes map it, 0 as long as none is
	// fixed.
	UserBase uint64
}

// Scanner holds the loaded iterator program.
type Scanner struct {
	it  *link.Iter
	buf bytes.Buffer
}

// NewScanner loads and attaches the iterator. Where the kernel does not have it
// the error is [ebpf.ErrNotSupported], where it is not allowed EPERM.
func NewScanner() (*Scanner, error) {
	it, err := attach()
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w (needs CAP_BPF and CAP_PERFMON)", unix.EPERM)
	}
	if err != nil {
		return nil, fmt.Errorf("load iterator over maps: %w", err)
	}
	return &Scanner{it: it}, nil
}

func attach() (*link.Iter, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	var progs bpfPrograms
	if err := spec.LoadAndAssign(&progs, &ebpf.CollectionOptions{Cache: kernelbtf.Cache()}); err != nil {
		return nil, err
	}
	defer progs.Close() // the link holds the program
	return link.AttachIter(link.IterOptions{Program: progs.Rings})
}

// Close unloads the program. It is idempotent.
func (s *Scanner) Close() error { return s.it.Close() }

// Scan appends the rings and arenas of the host to entries, by ascending id, and
// returns the result. It is no snapshot: the kernel walks from map to map, and a
// map that comes or goes meanwhile is there or not.
func (s *Scanner) Scan(entries []Entry) ([]Entry, error) {
	if err := s.read(); err != nil {
		return nil, fmt.Errorf("scan maps: %w", err)
	}
	const size = int(unsafe.Sizeof(bpfEntry{}))
	for text := s.buf.Bytes(); len(text) >= size; text = text[size:] {
		var e bpfEntry
		if _, err := binary.Decode(text, binary.NativeEndian, &e); err != nil {
			return nil, fmt.Errorf("scan maps: %w", err)
		}
		entries = append(entries, e.entry())
	}
	return entries, nil
}

// read fills buf with what one pass of the iterator writes.
func (s *Scanner) read() error {
	s.buf.Reset()
	r, err := s.it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		_, err := s.buf.ReadFrom(r)
		// The kernel went over a million maps without reporting one
		// (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c).
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
}

// HAS_* in mapiter.bpf.c.
const (
	hasPositions = 1 << iota
	hasPending
	hasOverwrite
	hasHeader
	hasArena
	hasPages
	hasSteady
	hasWriters
)

func (e *bpfEntry) entry() Entry {
	has := func(bit uint32) bool { return e.Known&bit != 0 }
	name := make([]byte, 0, len(e.Name))
	for _, c := range e.Name {
		name = append(name, byte(c))
	}
	out := Entry{
		ID:         ebpf.MapID(e.Id),
		Type:       ebpf.MapType(e.Type),
		Name:       unix.ByteSliceToString(name),
		MaxEntries: e.MaxEntries,
		Flags:      e.Flags,
		MapExtra:   e.MapExtra,
		Identity:   Identity(e.Address),
	}
	if has(hasPages) {
		memory := e.Pages * uint64(os.Getpagesize())
		out.Memory = &memory
	}
	if has(hasWriters) {
		out.Writers = &e.Writers
	}
	if has(hasArena) {
		out.Arena = &Arena{UserBase: e.UserVmStart}
	}
	if !has(hasPositions) {
		return out
	}
	p := &Positions{Consumer: e.ConsumerPos, Producer: e.ProducerPos, Steady: has(hasSteady)}
	if has(hasPending) {
		p.Pending = &e.PendingPos
	}
	if has(hasOverwrite) {
		p.Overwrite = &e.OverwritePos
	}
	if has(hasHeader) {
		h := ring.Header(e.Header)
		p.Header = &h
	}
	out.Positions = p
	return out
}
