package inspect

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// places collects where programs are attached.
type places struct {
	types map[ebpf.ProgramID]ebpf.ProgramType // the programs in question
	at    map[ebpf.ProgramID][]Attachment
	notes []string
}

// any reports whether one of the programs in question has one of the types.
func (p *places) any(types ...ebpf.ProgramType) bool {
	for _, t := range p.types {
		if slices.Contains(types, t) {
			return true
		}
	}
	return false
}

// add notes a place, once: what a link attaches is told by what it is attached to
// as well, and a program may be attached on each CPU.
func (p *places) add(id ebpf.ProgramID, a Attachment) {
	same := func(b Attachment) bool {
		return a.Type == b.Type && a.Target == b.Target && (a.Link == 0 || a.Link == b.Link)
	}
	if _, asked := p.types[id]; asked && !slices.ContainsFunc(p.at[id], same) {
		p.at[id] = append(p.at[id], a)
	}
}

// query adds the programs that the target tells of for an attach type, but for those that
// a link attaches. It returns an error where the kernel does not know the question, as
// for an attach type that is too new for it.
func (p *places) query(target int, attach ebpf.AttachType, place Attachment) error {
	r, err := link.QueryPrograms(link.QueryOptions{Target: target, Attach: attach})
	if err != nil {
		return err
	}
	for _, prog := range r.Programs {
		if _, linked := prog.LinkID(); !linked {
			p.add(prog.ID, place)
		}
	}
	return nil
}
