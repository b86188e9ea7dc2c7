package runner

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Iterate runs the iterators of the object once, and writes what they print to w. heading is called before the output of
// each; it may be nil.
func (o *Object) Iterate(w io.Writer, heading func(*Program)) error {
	for _, p := range o.programs {
		if p.section.hook != iteratorHook {
			continue
		}
		if heading != nil {
			heading(p)
		}
		if err := p.iterate(w); err != nil {
			return fmt.Errorf("run iterator %s: %w", p.Name, err)
		}
	}
	return nil
}

func (p *Program) iterate(w io.Writer) error {
	it, err := link.AttachIter(link.IterOptions{Program: p.Program})
	if err != nil {
		return err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// ByHand reports whether the object has programs for [Object.RunOnce].
func (o *Object) ByHand() bool {
	for _, p := range o.programs {
		if p.section.hook == syscallHook {
			return true
		}
	}
	return false
}

// RunOnce runs each syscall program of the object, with a context of zeros, and calls done with its result. It may be called
// while another goroutine reads rings.
func (o *Object) RunOnce(done func(p *Program, result uint32)) error {
	for _, p := range o.programs {
		if p.section.hook != syscallHook {
			continue
		}
		opts := ebpf.RunOptions{}
		if n := contextSize(p.spec); n > 0 {
			opts.Context = make([]byte, n)
		}
		result, err := p.Run(&opts)
		if err != nil {
			return fmt.Errorf("run program %s: %w", p.Name, err)
		}
		done(p, result)
	}
	return nil
}

// contextSize returns the size in bytes of the struct that a program takes as its argument, by its BTF.
func contextSize(spec *ebpf.ProgramSpec) int {
	if len(spec.Instructions) == 0 {
		return 0
	}
	fn := btf.FuncMetadata(&spec.Instructions[0])
	if fn == nil {
		return 0
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok || len(proto.Params) != 1 {
		return 0
	}
	pointer, ok := btf.UnderlyingType(proto.Params[0].Type).(*btf.Pointer)
	if !ok {
		return 0
	}
	n, err := btf.Sizeof(pointer.Target)
	if err != nil {
		return 0 // void
	}
	return n
}
