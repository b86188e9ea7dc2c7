package infer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// program is a BPF program that refers to the ring.
type program struct {
	id     ebpf.ProgramID
	name   string
	ring   uint32
	spec   *btf.Spec // nil without BTF
	code   *code
	before map[int]*state // state before each block, by the block's start
	names  map[uint32]mapFacts
	calls  *helpers
}

// mapFacts describes a map, other than the ring, that the program uses.
type mapFacts struct {
	name   string
	perCPU bool
}

// programs returns the programs that refer to the map, and notes on those that it could not read.
func programs(ring ebpf.MapID) (found []*program, notes []string, err error) {
	for id := ebpf.ProgramID(0); ; {
		id, err = ebpf.ProgramGetNextID(id)
		if errors.Is(err, fs.ErrNotExist) {
			return found, notes, nil
		}
		if err != nil {
			return nil, nil, err
		}
		p, err := load(id, ring)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the program has been unloaded
		case err != nil && p != nil:
			notes = append(notes, fmt.Sprintf("%s: %v", p, err))
		case err != nil:
			return nil, nil, err
		case p != nil:
			found = append(found, p)
		}
	}
}

// load returns the program if it refers to the ring, otherwise nil. If it returns both a program and an error,
// only this program cannot be read.
func load(id ebpf.ProgramID, ring ebpf.MapID) (*program, error) {
	prog, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return nil, err
	}
	used, _ := info.MapIDs()
	p := &program{id: id, name: info.Name, ring: uint32(ring), names: map[uint32]mapFacts{}}
	uses := false
	for _, m := range used {
		if uses = uses || m == ring; m != ring {
			p.names[uint32(m)] = factsOf(m)
		}
	}
	if !uses {
		return nil, nil
	}
	insns, err := info.Instructions()
	if err != nil {
		return p, err
	}
	p.code = newCode(insns)
	if handle, err := prog.Handle(); err == nil {
		defer handle.Close()
		if p.spec, err = handle.Spec(nil); err != nil {
			return p, err
		}
	}
	return p, p.follow()
}

func factsOf(id ebpf.MapID) mapFacts {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return mapFacts{}
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return mapFacts{}
	}
	perCPU := info.Type == ebpf.PerCPUArray || info.Type == ebpf.PerCPUHash || info.Type == ebpf.LRUCPUHash
	return mapFacts{info.Name, perCPU}
}

func (p *program) String() string { return fmt.Sprintf("program %d (%s)", p.id, p.name) }

func (p *program) isPerCPU(id uint32) bool { return p.names[id].perCPU }

// global returns the type and name of the global variable at off in the value of a map. libbpf stores each
// section of variables in one map and names the map after the section.
func (p *program) global(id uint32, off int64) (btf.Type, string) {
	_, suffix, ok := strings.Cut(p.names[id].name, ".")
	if p.spec == nil || !ok {
		return nil, ""
	}
	for t, err := range p.spec.All() {
		sec, ok := t.(*btf.Datasec)
		if err != nil || !ok || !strings.HasPrefix(sec.Name, "."+suffix) {
			continue
		}
		for _, v := range sec.Vars {
			if named, ok := v.Type.(*btf.Var); ok && int64(v.Offset) == off {
				return named.Type, named.Name
			}
		}
	}
	return nil, ""
}

// element returns the type of a map's values and the map's full name, both from the declaration of the map in
// the program's .maps section.
func (p *program) element(id uint32) (btf.Type, string) {
	name := p.names[id].name
	if p.spec == nil || name == "" {
		return nil, ""
	}
	for t, err := range p.spec.All() {
		sec, ok := t.(*btf.Datasec)
		if err != nil || !ok || sec.Name != ".maps" {
			continue
		}
		for _, v := range sec.Vars {
			named, ok := v.Type.(*btf.Var)
			// The kernel truncates the name of a map to 15 bytes.
			if !ok || named.Name != name && (len(name) < 15 || !strings.HasPrefix(named.Name, name)) {
				continue
			}
			def, ok := btf.UnderlyingType(named.Type).(*btf.Struct)
			if !ok {
				continue
			}
			for _, m := range def.Members {
				if p, ok := btf.UnderlyingType(m.Type).(*btf.Pointer); ok && m.Name == "value" {
					return p.Target, named.Name
				}
			}
		}
	}
	return nil, ""
}
