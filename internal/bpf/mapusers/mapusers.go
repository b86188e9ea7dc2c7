// Package mapusers finds which processes use which BPF maps, by descriptor or by
// mapped memory. Its BPF iterators read the kernel's own structures, so the result
// is exact, unlike what can be inferred from names and sizes in /proc. It also finds
// a process that closed a map's descriptor and kept its mapping.
//
// It needs the iterator iter/task_vma (Linux 5.12), kernel BTF, and CAP_BPF and
// CAP_PERFMON. Package inspect uses it, and falls back to /proc.
//
//	s, err := mapusers.NewScanner()
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	uses, err := s.Scan()
//
// Loading the programs takes most of the time: keep a Scanner for repeated scans.
// Only one goroutine at a time can use a Scanner.
package mapusers

//go:generate go tool bpf2go -target bpfel -go-package mapusers -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type use bpf mapusers.bpf.c

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// Use is one way in which a process uses a map: a descriptor (Size is 0) or a
// mapping of the map's memory.
type Use struct {
	Map     ebpf.MapID
	PID     int           // pid of the process in the caller's pid namespace
	Started time.Duration // start time since boot; distinguishes processes that had the same PID
	Comm    string        // name of the process's first thread

	Offset   uint64 // bytes from the beginning of the map's memory
	Size     uint64 // bytes, a multiple of the page size
	Writable bool
	Mapping  Mapping // the zero Mapping for a descriptor
}

// Mapping identifies a mapping. Processes that share memory, as after vfork(2), share mappings.
// It is derived from a kernel address: do not show it to users.
type Mapping struct {
	space, start uint64
}

// Scanner holds the loaded iterator programs.
type Scanner struct {
	descriptors, mappings *link.Iter
}

// objects are the programs and maps that are loaded. They do not include bpfVariables,
// which would map the variables into this process.
type objects struct {
	bpfPrograms
	bpfMaps
}

// NewScanner loads and attaches the iterators. The error matches [ebpf.ErrNotSupported]
// if the kernel lacks them, and EPERM if a capability is missing.
func NewScanner() (*Scanner, error) {
	s, err := newScanner()
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w (needs CAP_BPF and CAP_PERFMON)", unix.EPERM)
	}
	if err != nil {
		return nil, fmt.Errorf("load iterators over map users: %w", err)
	}
	return s, nil
}

func newScanner() (_ *Scanner, err error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	var objs objects
	if err := spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{Cache: kernelbtf.Cache()}); err != nil {
		return nil, err
	}
	// Close these: the links hold the programs, and the programs hold the maps.
	defer objs.bpfPrograms.Close()
	defer objs.bpfMaps.Close()
	if err := learn(objs.Learn); err != nil {
		return nil, err
	}
	var s Scanner
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.descriptors, err = link.AttachIter(link.IterOptions{Program: objs.Descriptors}); err != nil {
		return nil, err
	}
	if s.mappings, err = link.AttachIter(link.IterOptions{Program: objs.Mappings}); err != nil {
		return nil, err
	}
	return &s, nil
}

// learn runs the program learn, which finds how to recognize the file of a map. The
// map that the program looks for is still open in this process.
func learn(p *ebpf.Program) error {
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	// Read only the byte that the program reports: that ends the walk.
	if _, err := io.ReadFull(patient{r}, make([]byte, 1)); err != nil {
		return fmt.Errorf("find a known descriptor: %w", err)
	}
	return nil
}

// Close unloads the programs. It is idempotent.
func (s *Scanner) Close() error {
	var errs []error
	for _, it := range []*link.Iter{s.descriptors, s.mappings} {
		if it != nil {
			errs = append(errs, it.Close())
		}
	}
	return errors.Join(errs...)
}

// Scan returns the uses of all maps by all processes in this process's pid
// namespace and its descendants, including this process. Each descriptor and
// each mapping is one use. If a process has threads that do not share descriptors,
// Scan reports each of its mappings once for each such thread.
//
// The result is not a snapshot: the kernel visits one process after the other.
func (s *Scanner) Scan() ([]Use, error) {
	uses, err := read(nil, s.descriptors)
	if err == nil {
		uses, err = read(uses, s.mappings)
	}
	if err != nil {
		return nil, fmt.Errorf("scan users of maps: %w", err)
	}
	return uses, nil
}

func read(uses []Use, it *link.Iter) ([]Use, error) {
	r, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// A read returns at most 8 pages, the kernel's buffer (bpf_seq_read in kernel/bpf/bpf_iter.c).
	text, err := io.ReadAll(patient{r})
	if err != nil {
		return nil, err
	}
	for len(text) > 0 {
		var u bpfUse
		n, err := binary.Decode(text, binary.NativeEndian, &u)
		if err != nil {
			return nil, err
		}
		text = text[n:]
		uses = append(uses, u.use())
	}
	return uses, nil
}

// vmWrite is VM_WRITE, include/linux/mm.h.
const vmWrite = 0x2

func (u bpfUse) use() Use {
	comm := make([]byte, 0, len(u.Comm))
	for _, c := range u.Comm {
		comm = append(comm, byte(c))
	}
	return Use{
		Map:      ebpf.MapID(u.MapId),
		PID:      int(u.Pid),
		Started:  time.Duration(u.StartBoottime),
		Comm:     unix.ByteSliceToString(comm),
		Offset:   u.Pgoff * uint64(os.Getpagesize()),
		Size:     u.Size,
		Writable: u.VmFlags&vmWrite != 0,
		Mapping:  Mapping{u.Mm, u.VmStart},
	}
}

// patient repeats a read that returns EAGAIN: the iterator has visited a million
// objects without reporting one (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c).
type patient struct{ io.Reader }

func (p patient) Read(buf []byte) (int, error) {
	for {
		n, err := p.Reader.Read(buf)
		if !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
}
