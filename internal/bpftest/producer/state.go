package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// stateSection is the name of the map with the globals of the object. All programs of a Producer
// share the map.
const stateSection = ".bss"

// state is the mapping of the globals. A goroutine holds the Producer's mutex while it runs a
// program and while it accesses the globals.
type state struct {
	m          *ebpf.Map
	mem        []byte
	run, query uint32 // offsets
}

func newState() (_ *state, err error) {
	spec, err := newSpec()
	if err != nil {
		return nil, err
	}
	s := &state{
		run:   spec.Variables[bpfVarRun].Offset,
		query: spec.Variables[bpfVarQuery].Offset,
	}
	section := spec.Maps[stateSection]
	section.Flags |= unix.BPF_F_MMAPABLE
	if s.m, err = ebpf.NewMap(section); err != nil {
		return nil, fmt.Errorf("create map %s: %w", stateSection, err)
	}
	page := os.Getpagesize()
	size := (int(s.m.ValueSize()) + page - 1) / page * page
	s.mem, err = unix.Mmap(s.m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map %s: %w", stateSection, err), s.m.Close())
	}
	copy(s.mem[spec.Variables[bpfVarPattern].Offset:], pattern())
	return s, nil
}

func (s *state) close() error {
	return errors.Join(unix.Munmap(s.mem), s.m.Close())
}

// seq returns the field run.seq.
func (s *state) seq() uint64 {
	return binary.NativeEndian.Uint64(s.mem[s.run:]) // the first field
}

func (s *state) getRun() (v bpfRunState) {
	s.get(s.run, &v)
	return v
}

func (s *state) getQuery() (v bpfQueryResult) {
	s.get(s.query, &v)
	return v
}

func (s *state) get(offset uint32, v any) {
	if _, err := binary.Decode(s.mem[offset:], binary.NativeEndian, v); err != nil {
		panic(err) // the type has no fixed size, or lies outside the section
	}
}

// setRun stores v into the globals. It avoids reflection, which would take longer than the program
// that Ping runs.
func (s *state) setRun(v bpfRunState) {
	b := s.mem[s.run:s.run]
	for _, field := range [...]uint64{
		v.Seq, v.End, v.Flags, v.Retry, v.Submitted, v.Discarded, v.Failed, v.Bytes,
	} {
		b = binary.NativeEndian.AppendUint64(b, field)
	}
}
