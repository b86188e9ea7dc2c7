package inspect

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// places collects where programs are attached.
type places struct {
	types map[ebpf.ProgramID]ebpf.ProgramType // programs whose attachments are wanted
	at    map[ebpf.ProgramID][]Attachment
	notes []string
}

// any reports whether a program in p.types has one of the types.
func (p *places) any(types ...ebpf.ProgramType) bool {
	for _, t := range p.types {
		if slices.Contains(types, t) {
			return true
		}
	}
	return false
}

// add adds an attachment of a program in p.types unless it is already known. The same one is found repeatedly:
// by its link and by a query of its target, or once for each CPU.
func (p *places) add(id ebpf.ProgramID, a Attachment) {
	same := func(b Attachment) bool {
		return a.Type == b.Type && a.Target == b.Target && (a.Link == 0 || a.Link == b.Link)
	}
	if _, asked := p.types[id]; asked && !slices.ContainsFunc(p.at[id], same) {
		p.at[id] = append(p.at[id], a)
	}
}

// query adds the programs attached to the target with an attach type but without a link. It returns the
// kernel's error, such as EINVAL for an attach type that the kernel does not know.
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
