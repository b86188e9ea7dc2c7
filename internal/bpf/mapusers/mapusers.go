// Package mapusers finds out which processes use which BPF maps, by descriptor
// or by mapped memory, exactly: it asks the kernel, with BPF iterators, instead
// of reading names and sizes out of /proc. A process that closed a map's
// descriptor and kept its mapping is found too.
//
// It needs the iterator iter/task_vma (Linux 5.12), kernel BTF, and CAP_BPF and
// CAP_PERFMON. Package inspect uses it, and /proc where it cannot be used.
//
//	s, err := mapusers.NewScanner()
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	uses, err := s.Scan()
//
// Loading takes the most time: keep a Scanner for repeated scans. One goroutine
// at a time may use a Scanner.
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

// Use is one way in which a process uses a map: a descriptor, or a mapping of
// its memory when Size is not 0.
type Use struct {
	Map     ebpf.MapID
	PID     int           // of the process, as this process's pid namespace counts
	Started time.Duration // from boot; tells processes that had the same PID apart
	Comm    string        // of the process's first thread

	Offset   uint64 // bytes from the beginning of the map's memory
	Size     uint64 // bytes, a multiple of the page size
	Writable bool
	Mapping  Mapping // the zero Mapping for a descriptor
}

// Mapping tells mappings apart. Processes that share their memory, as after vfork(2), share
// its mappings. It is derived from an address in the kernel: do not show it.
type Mapping struct {
	space, start uint64
}

// Scanner holds the loaded iterator programs.
type Scanner struct {
	descriptors, mappings *link.Iter
}

// objects are what is loaded into the kernel, without the variables: those would
// be mapped into this process.
type objects struct {
	bpfPrograms
	bpfMaps
}

// NewScanner loads and attaches the iterators. Where the kernel does not have
// them the error is [ebpf.ErrNotSupported], where they are not allowed EPERM.
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
	// The links hold the programs, and the programs the maps.
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

// learn lets the programs find out what the file of a map looks like. The map
// that it looks for is still open in this process.
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
	// Reading no more than the byte that it reports ends the walk there.
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
// namespace and the ones below it, this process included. Each descriptor and
// each mapping is one use; of a process with threads that do not share their
// descriptors, a mapping is reported once for each of these.
//
// It is no snapshot: the kernel walks from process to process.
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
	// The kernel copies out of a buffer of 8 pages (bpf_seq_read in kernel/bpf/bpf_iter.c).
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

// patient reads on where an iterator gives EAGAIN: it went over a million
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
