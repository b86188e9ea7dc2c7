package infer

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode/infer/internal/reconstruct"
	"github.com/rbtool/rbtool/internal/progcode"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/syscall"
)

// program is a BPF program that refers to the ring.
type program struct {
	info  *syscall.ProgramInfo
	ring  string                    // the ring's name
	maps  map[uint32]recordflow.Map // the maps that it uses
	entry []btf.FuncParam           // the arguments of its first function
	lines []line                    // its source lines
	flow  *recordflow.Flow

	effort effort // for the whole answer

	// These are nil until they are needed.
	functions map[string]*function // by name
	locals    *reconstruct.Locals
	converted map[string]bool // by function and argument

	sources  []source            // the BTF that belongs to it, the nearest first
	values   map[uint32]btf.Type // the types of the values of maps, where the map itself has BTF
	keys     []btf.Type          // the types of their keys
	contexts map[string]bool     // names of the types of its context
}

// program returns a program that refers to one of the maps in ways, without its instructions.
func (h *host) program(info *syscall.ProgramInfo, ways map[ebpf.MapID]bool) *program {
	p := &program{info: info, maps: map[uint32]recordflow.Map{}, values: map[uint32]btf.Type{}, contexts: map[string]bool{}}
	for _, id := range info.Maps {
		facts := recordflow.Map{Ring: ways[id]}
		if m := h.mapInfo(id); m != nil {
			facts.Name, facts.Type, facts.ValueSize = m.Name, m.Type, m.ValueSize
		}
		p.maps[uint32(id)] = facts
	}
	return p
}

// load reads the instructions of p and follows them. If it returns an error, the program cannot be read; if the program
// is gone, the error matches [fs.ErrNotExist]. Several goroutines can load different programs.
func (p *program) load(h *host, helper func(int32) string) error {
	code, err := h.code(p.info.ID)
	if err != nil {
		return err
	}
	spec, _ := h.spec(p.info.BTF) // without it the program has no lines; catalog notes why
	insns, err := progcode.Instructions(code, spec)
	if err != nil {
		return err
	}
	if len(insns) > 0 {
		if fn := btf.FuncMetadata(&insns[0]); fn != nil {
			if proto, ok := fn.Type.(*btf.FuncProto); ok {
				p.entry = proto.Params
			}
		}
	}
	p.lines = linesOf(insns)
	p.flow, err = recordflow.Analyze(&recordflow.Program{Insns: insns, Maps: p.maps, Helper: helper})
	return err
}

func (p *program) String() string { return fmt.Sprintf("program %d (%s)", p.info.ID, p.info.Name) }

// describe finds the BTF that belongs to p.
func (h *host) describe(p *program, users []*syscall.ProgramInfo) {
	p.sources = append(p.sources, h.sourcesOf(p, users)...)
	for _, id := range p.info.Maps {
		if m := h.mapInfo(id); m != nil && m.ValueType != 0 {
			if c := h.catalog(m.BTF); c != nil {
				if t, err := c.spec.TypeByID(m.ValueType); err == nil {
					p.values[uint32(id)] = t
				}
				if t, err := c.spec.TypeByID(m.KeyType); err == nil {
					p.keys = append(p.keys, t)
				}
			}
		}
	}
	for _, fn := range p.entry {
		if t := pointee(fn.Type); t != nil {
			p.contexts[t.TypeName()] = true
		}
	}
}
