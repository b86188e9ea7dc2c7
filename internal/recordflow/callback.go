package recordflow

import (
	"github.com/cilium/ebpf/asm"
)

// called joins s, the state before a call that ends block n, to the state in which the called function begins.
// It returns the state after the call, nil if the function does not return yet.
func (a *analysis) called(n *node, end int, s *state) *state {
	target, own := a.code.callee(end)
	if !own {
		return s
	}
	child := a.contextOf(n, end, target)
	if child == nil {
		for _, v := range s.regs[asm.R1 : asm.R5+1] {
			a.lose(place{n.ctx, end}, s, v)
		}
		s.forgetArguments()
		return s
	}
	child.caller = n
	a.enter(child, s, [5]value(s.regs[asm.R1:asm.R5+1]))
	if child.exit == nil {
		return nil
	}
	s.forgetArguments()
	s.regs[asm.R0] = child.exit.regs[asm.R0]
	s.mem = child.exit.clone().mem
	s.drop(a.stackOf(child))
	return s
}

// enter joins the state in which c begins with s, the state before the call, and its arguments.
func (a *analysis) enter(c *callContext, s *state, args [5]value) {
	in := s.clone()
	in.regs = [16]value{asm.RFP: {kind: pointer, id: a.stackOf(c)}}
	copy(in.regs[asm.R1:], args[:])
	in.drop(a.stackOf(c))
	a.memory(in, a.stackOf(c))
	a.flowTo(c, c.start, in, 0)
}

// stackOf returns the object that is the stack of the function in c.
func (a *analysis) stackOf(c *callContext) int32 {
	return a.object(objectKey{kind: stack, at: place{c, c.start}})
}

// callback follows the functions that a helper gets a pointer to and calls, any number of times.
func (a *analysis) callback(c call, s *state) {
	for _, v := range c.args {
		if v.kind != address {
			continue
		}
		var args [5]value
		switch c.name {
		case "bpf_loop":
			args[0], args[1] = full, c.args[2]
		case "bpf_find_vma":
			args[2] = c.args[3]
		case "bpf_for_each_map_elem":
			args[0], args[3] = c.args[0], c.args[2]
			if ids := a.members(c.args[0]); len(ids) > 0 {
				args[2] = a.elementOf(s, a.objects[ids[0]].m, c.at)
			}
		}
		a.repeat(c, s, int(v.min), args)
	}
}

// repeat follows the function that begins at start, which the helper of c calls any number of times.
func (a *analysis) repeat(c call, s *state, start int, args [5]value) {
	child := a.contextOf(a.current, c.at.ins, start)
	if child == nil {
		for _, v := range c.args {
			a.lose(c.at, s, v)
		}
		return
	}
	if child.exit != nil {
		after := child.exit.clone()
		after.drop(a.stackOf(child))
		a.mergeMemory(s, after, true)
	}
	if a.notes == nil {
		child.caller = a.current
		a.enter(child, s, args)
	}
}
