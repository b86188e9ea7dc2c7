// Package progreader reads the programs of the host, their instructions, source lines and BTF, and describes the
// maps, without descriptors of them: BPF iterators tell where the kernel keeps these, and a program copies
// them. bpf(2) gives them only to a process with CAP_SYS_ADMIN; this package needs CAP_BPF and CAP_PERFMON,
// iter/bpf_prog (Linux 5.9) and kernel BTF.
//
//	r, err := progreader.New()
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	programs, err := r.Programs()
//
// Package infer uses it. Only one goroutine at a time can use a Reader. What a program that is unloaded meanwhile
// had can be read as anything: each length is bounded, and what is read is checked as BTF of strangers is.
package progreader

//go:generate go tool bpf2go -target bpfel -go-package progreader -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type prog_entry -type map_entry -type range bpf progreader.bpf.c

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Limits of what is read.
const (
	maxCopy = 16 << 20 // bytes of BTF or instructions of one program
	maxPass = 64 << 20 // bytes of one pass of an iterator
	window  = 64 << 10 // WINDOW
)

// Reader holds the loaded programs, and what the iterators said.
type Reader struct {
	objects  bpfObjects
	programs map[ebpf.ProgramID]*bpfProgEntry
	maps     map[ebpf.MapID]*bpfMapEntry
	addrs    map[uint64]ebpf.MapID // by the address of struct bpf_map
	btfs     map[btf.ID]bpfRange
}

// New loads the programs. The error matches [fs.ErrPermission] if a capability is missing.
func New() (*Reader, error) {
	r := &Reader{
		programs: map[ebpf.ProgramID]*bpfProgEntry{}, maps: map[ebpf.MapID]*bpfMapEntry{}, addrs: map[uint64]ebpf.MapID{},
		btfs: map[btf.ID]bpfRange{},
	}
	err := loadBpfObjects(&r.objects, &ebpf.CollectionOptions{Cache: kernelbtf.Cache()})
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w (needs CAP_BPF and CAP_PERFMON)", unix.EPERM)
	}
	if err != nil {
		return nil, fmt.Errorf("load iterators over programs: %w", err)
	}
	return r, nil
}

// Close unloads the programs. It is idempotent.
func (r *Reader) Close() error { return r.objects.Close() }

// Programs describes the programs and maps of the host; Map tells of the latter. It does not say which user loaded
// a program.
func (r *Reader) Programs() (found []*syscall.ProgramInfo, err error) {
	if err := pass(r.objects.Maps, func(m *bpfMapEntry) {
		r.maps[ebpf.MapID(m.Id)], r.addrs[m.Addr] = m, ebpf.MapID(m.Id)
		r.btfs[btf.ID(m.Btf.Id)] = m.Btf
	}); err != nil {
		return nil, fmt.Errorf("list maps: %w", err)
	}
	if err := pass(r.objects.Programs, func(p *bpfProgEntry) {
		if p.Id == 0 { // a part of a program
			return
		}
		r.programs[ebpf.ProgramID(p.Id)] = p
		r.btfs[btf.ID(p.Btf.Id)] = p.Btf
		info := &syscall.ProgramInfo{
			ID: ebpf.ProgramID(p.Id), Type: ebpf.ProgramType(p.Type), Name: text(p.Name[:]), Tag: p.Tag,
			LoadTime: time.Duration(p.LoadTime), BTF: btf.ID(p.Btf.Id),
		}
		for _, id := range p.MapIds[:min(int(p.Maps), len(p.MapIds))] {
			info.Maps = append(info.Maps, ebpf.MapID(id))
		}
		found = append(found, info)
	}); err != nil {
		return nil, fmt.Errorf("list programs: %w", err)
	}
	return found, nil
}

// Map describes a map; nil if there is none.
func (r *Reader) Map(id ebpf.MapID) *syscall.MapInfo {
	m := r.maps[id]
	if m == nil {
		return nil
	}
	return &syscall.MapInfo{
		ID: id, Type: ebpf.MapType(m.Type), Name: text(m.Name[:]), KeySize: m.KeySize, ValueSize: m.ValueSize, MaxEntries: m.MaxEntries,
		BTF: btf.ID(m.Btf.Id), KeyType: btf.TypeID(m.KeyType), ValueType: btf.TypeID(m.ValueType),
	}
}

// ErrNotPreallocated reports a hash of maps with BPF_F_NO_PREALLOC: its elements lie anywhere in the kernel's memory.
var ErrNotPreallocated = errors.New("a hash of maps that is not preallocated takes CAP_SYS_ADMIN")

// Inner returns the ids of the maps in a map of maps, none for another map or one that is gone. A map that was taken
// out of a hash of maps can be among them. The error matches [ErrNotPreallocated] for a hash of maps that cannot be
// read.
func (r *Reader) Inner(outer ebpf.MapID) (found []ebpf.MapID, err error) {
	m := r.maps[outer]
	if m == nil {
		return nil, nil
	}
	kind, entries := ebpf.MapType(m.Type), m.MaxEntries
	switch {
	case kind != ebpf.ArrayOfMaps && kind != ebpf.HashOfMaps:
		return nil, nil
	case m.Values == 0:
		return nil, ErrNotPreallocated
	case kind == ebpf.HashOfMaps: // it has a spare element for each CPU, and any of them can be in use (prealloc_init)
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			return nil, err
		}
		entries += uint32(cpus)
	}
	raw, err := r.copy(bpfRange{Addr: m.Values, Count: entries}, int(m.Stride))
	if err != nil {
		return nil, err
	}
	for ; len(raw) >= 8; raw = raw[min(len(raw), max(8, int(m.Stride))):] {
		if id, ok := r.addrs[binary.NativeEndian.Uint64(raw)]; ok {
			found = append(found, id)
		}
	}
	return found, nil
}

// BTF returns the bytes of a BTF that a program or map has, at most limit. If there is none, the error matches
// [fs.ErrNotExist].
func (r *Reader) BTF(id btf.ID, limit uint32) ([]byte, error) {
	at, ok := r.btfs[id]
	if !ok || at.Addr == 0 {
		return nil, fmt.Errorf("read BTF %d: %w", id, fs.ErrNotExist)
	}
	if at.Count > limit {
		return nil, fmt.Errorf("read BTF %d: %w: %d bytes", id, syscall.ErrTooLarge, at.Count)
	}
	raw, err := r.copy(at, 1)
	if err != nil {
		return nil, fmt.Errorf("read BTF %d: %w", id, err)
	}
	return raw, nil
}

// copy returns the records of size bytes in a range of the kernel's memory.
func (r *Reader) copy(from bpfRange, size int) ([]byte, error) {
	left := uint64(from.Count) * uint64(size)
	if left > maxCopy {
		return nil, fmt.Errorf("more than %d MiB", maxCopy>>20)
	}
	var all []byte
	data := make([]byte, window)
	for zero := uint32(0); left > 0; {
		from.Count = uint32(min(left, window))
		if err := r.objects.Wanted.Put(zero, &from); err != nil {
			return nil, err
		}
		if ret, err := r.objects.Copy.Run(&ebpf.RunOptions{}); err != nil {
			return nil, err
		} else if ret != 0 {
			return nil, unix.Errno(-int32(ret)) // the helper's error
		}
		if err := r.objects.Window.Lookup(zero, data); err != nil {
			return nil, err
		}
		all = append(all, data[:from.Count]...)
		from.Addr, left = from.Addr+uint64(from.Count), left-uint64(from.Count)
	}
	return all, nil
}

// pass runs an iterator and calls each with its entries.
func pass[Entry bpfProgEntry | bpfMapEntry](iterator *ebpf.Program, each func(*Entry)) error {
	it, err := link.AttachIter(link.IterOptions{Program: iterator})
	if err != nil {
		return err
	}
	defer it.Close()
	f, err := it.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	var buf bytes.Buffer
	for {
		_, err := buf.ReadFrom(io.LimitReader(f, int64(maxPass-buf.Len())))
		if errors.Is(err, unix.EAGAIN) { // see package mapiter
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	size := int(unsafe.Sizeof(*new(Entry)))
	for b := buf.Bytes(); len(b) >= size; b = b[size:] {
		e := new(Entry)
		if _, err := binary.Decode(b, binary.NativeEndian, e); err != nil {
			return err
		}
		each(e)
	}
	return nil
}

func text(name []int8) string {
	b := make([]byte, len(name))
	for i, c := range name {
		b[i] = byte(c)
	}
	return unix.ByteSliceToString(b)
}
