// Package mapiter reads the positions of every ring and the address of every arena
// on the host. Its BPF iterator over all maps reads the kernel's own structures, in
// one pass, without a descriptor or mapping of any map.
//
// It needs the iterator iter/bpf_map (Linux 5.8), kernel BTF, and CAP_BPF and
// CAP_PERFMON. Package inspect uses it, and falls back to mapping each ring.
//
//	s, err := mapiter.NewScanner()
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	var list mapiter.List
//	err = s.Scan(&list)
//
// Loading the program takes most of the time: keep a Scanner for repeated scans.
// Only one goroutine at a time can use a Scanner.
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

// List has the maps of a scan.
type List struct {
	Entries []Entry // rings and arenas, by ascending id
	// MapsOfMaps are the ids of the maps whose values are maps, in ascending order.
	MapsOfMaps []ebpf.MapID
	// PerfEventArrays counts the maps of type PERF_EVENT_ARRAY.
	PerfEventArrays int
}

// Entry is one ring or arena.
type Entry struct {
	ID         ebpf.MapID
	Type       ebpf.MapType
	Name       string // at most 15 bytes, may be empty
	MaxEntries uint32 // bytes of a ring, pages of an arena
	Flags      uint32 // BPF_F_*
	MapExtra   uint64
	// Memory is the number of bytes that the kernel has allocated: data and position
	// pages of a ring, or the allocated pages of an arena. It is nil for an arena if the
	// kernel does not count its pages (before 7.3).
	Memory *uint64
	// Identity does not change while the map exists. It distinguishes the map from a
	// later map with the same id.
	Identity Identity
	// Writers is the number of writable mappings of the map in the processes of all pid
	// namespaces: bpf_map.writecnt (kernel/bpf/syscall.c, bpf_map_mmap). A consumer of a
	// ring has such a mapping, and so does a producer of a user ring. It is nil if the
	// kernel's writecnt is not an atomic64_t (before 5.16).
	Writers *uint64
	// References is the number of what keeps the map: open files, pins, programs and maps of maps
	// (bpf_map.refcnt). It is nil if the kernel's refcnt is not an atomic64_t.
	References *uint64

	*Positions // nil for arenas
	*Arena     // nil for rings
}

// Identity identifies a map. It is derived from a kernel address: do not show it
// to users.
type Identity uint64

// Positions are the positions of a ring, in bytes; see [inspect.Positions].
type Positions struct {
	Consumer, Producer uint64
	Pending            *uint64 // nil if the kernel does not have it
	Overwrite          *uint64 // nil unless the ring is in overwrite mode
	// Steady reports that consumer_pos did not change between the loads, so that
	// the positions are those of one moment.
	Steady bool
	// Header is the header of the oldest record: at the consumer's position, or at
	// the overwrite position if that is ahead. It is nil if no record can be there.
	Header *ring.Header
	// Refused is what the producers of a user ring count, or nil if none counts.
	Refused *ring.Refused
}

// Arena describes the address of an arena.
type Arena struct {
	// UserBase is the address at which all processes map the arena, or 0 if it is not
	// fixed yet.
	UserBase uint64
}

// Scanner holds the loaded iterator program.
type Scanner struct {
	it  *link.Iter
	buf bytes.Buffer
}

// NewScanner loads and attaches the iterator. The error matches [ebpf.ErrNotSupported]
// if the kernel lacks the iterator, and EPERM if a capability is missing.
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

// Scan fills list with the maps of the host, and reuses its memory. The result is not a
// snapshot: the kernel visits one map after the other, and a map that appears or vanishes
// meanwhile may be missing. After an error list is incomplete.
func (s *Scanner) Scan(list *List) error {
	*list = List{Entries: list.Entries[:0], MapsOfMaps: list.MapsOfMaps[:0]}
	if err := s.read(); err != nil {
		return fmt.Errorf("scan maps: %w", err)
	}
	const size = int(unsafe.Sizeof(bpfEntry{}))
	for text := s.buf.Bytes(); len(text) >= size; text = text[size:] {
		var e bpfEntry
		if _, err := binary.Decode(text, binary.NativeEndian, &e); err != nil {
			return fmt.Errorf("scan maps: %w", err)
		}
		list.add(&e)
	}
	return nil
}

func (l *List) add(e *bpfEntry) {
	switch ebpf.MapType(e.Type) {
	case ebpf.PerfEventArray:
		l.PerfEventArrays++
	case ebpf.ArrayOfMaps, ebpf.HashOfMaps:
		l.MapsOfMaps = append(l.MapsOfMaps, ebpf.MapID(e.Id))
	default:
		l.Entries = append(l.Entries, e.entry())
	}
}

// read fills buf with the output of one pass of the iterator.
func (s *Scanner) read() error {
	s.buf.Reset()
	r, err := s.it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		_, err := s.buf.ReadFrom(r)
		// EAGAIN: the kernel visited a million maps without reporting one
		// (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c). Read on.
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
}

// These bits are HAS_* in mapiter.bpf.c.
const (
	hasPositions = 1 << iota
	hasPending
	hasOverwrite
	hasHeader
	hasArena
	hasPages
	hasSteady
	hasWriters
	hasReferences
	hasRefusals
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
	if has(hasReferences) {
		out.References = &e.References
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
	if r := e.Refusals; has(hasRefusals) {
		p.Refused = ring.NewRefused(r.Layout, r.Samples, r.Bytes, r.Nanos)
	}
	out.Positions = p
	return out
}
