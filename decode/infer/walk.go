package infer

import (
	"errors"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// maxSteps bounds the instructions visited for one program: the kernel accepts at most a million, and most are
// visited only a few times.
const maxSteps = 1 << 23

var errTooLong = errors.New("the program takes too many steps to analyze")

// code is a program's instructions by raw index: a load of a 64-bit immediate has two indexes.
type code struct {
	at      []*asm.Instruction // nil for the second index of an instruction
	leaders []bool             // a block begins at this index
	funcs   map[int]*function  // by index of the first instruction
}

// function is a function of the program, with the arguments that are the same in all calls.
type function struct {
	name   string
	params []btf.FuncParam
	args   [5]value
	called [5]bool // a call has set this argument in args
}

// newCode returns the code of insns, with its functions and the first instructions of blocks.
func newCode(insns asm.Instructions) *code {
	c := &code{funcs: map[int]*function{}}
	iter := insns.Iterate()
	for iter.Next() {
		for len(c.at) < int(iter.Offset) {
			c.at = append(c.at, nil)
		}
		c.at = append(c.at, iter.Ins)
		if fn := btf.FuncMetadata(iter.Ins); fn != nil {
			f := &function{name: fn.Name}
			if proto, ok := fn.Type.(*btf.FuncProto); ok {
				f.params = proto.Params
			}
			c.funcs[int(iter.Offset)] = f
		}
	}
	c.leaders = make([]bool, len(c.at)+1)
	if c.funcs[0] == nil {
		c.funcs[0] = &function{name: "the program"}
	}
	for i, ins := range c.at {
		if ins == nil {
			continue
		}
		if target, ok := c.callee(i); ok {
			if c.funcs[target] == nil {
				c.funcs[target] = &function{name: "a function"}
			}
			continue
		}
		next, ends := c.next(i)
		for _, n := range next {
			c.leaders[n] = c.leaders[n] || ends || len(next) > 1
		}
	}
	return c
}

// functionOf returns the function that contains instruction i.
func (c *code) functionOf(i int) *function {
	for c.funcs[i] == nil {
		i--
	}
	return c.funcs[i]
}

// lineOf returns the source line of instruction i. The kernel records a line only for the first of its
// instructions.
func (c *code) lineOf(i int) string {
	for ; i >= 0; i-- {
		if c.at[i] == nil {
			continue
		}
		if src := c.at[i].Source(); src != nil {
			return strings.TrimSpace(src.String())
		}
		if c.funcs[i] != nil {
			break
		}
	}
	return ""
}

// callee returns the index of the function that instruction i calls, and false if it calls none. The kernel's
// dump has the distance in the offset (kernel/bpf/verifier.c, jit_subprogs), or for an interpreted program in
// the immediate.
func (c *code) callee(i int) (int, bool) {
	ins := c.at[i]
	if !isCall(ins) || ins.Src != asm.PseudoCall {
		return 0, false
	}
	distance := int(ins.Offset)
	if distance == 0 {
		distance = int(ins.Constant)
	}
	target := i + 1 + distance
	return target, target >= 0 && target < len(c.at) && c.at[target] != nil
}

func isCall(ins *asm.Instruction) bool {
	return ins.OpCode.Class() == asm.JumpClass && ins.OpCode.JumpOp() == asm.Call
}

// next returns the instructions that can run after instruction i, and whether i is a jump or exit.
func (c *code) next(i int) (next []int, jumps bool) {
	ins := c.at[i]
	after := i + int(ins.Width())
	class, op := ins.OpCode.Class(), ins.OpCode.JumpOp()
	add := func(n int) {
		if n >= 0 && n < len(c.at) && c.at[n] != nil {
			next = append(next, n)
		}
	}
	switch {
	case class != asm.JumpClass && class != asm.Jump32Class || op == asm.Call:
		add(after)
		return next, false
	case op == asm.Exit:
		return nil, true
	case op == asm.Ja && class == asm.Jump32Class:
		add(i + 1 + int(ins.Constant))
	case op == asm.Ja:
		add(i + 1 + int(ins.Offset))
	default:
		add(after)
		add(i + 1 + int(ins.Offset))
	}
	return next, true
}

// follow computes p.before, the state before each block. It repeats until the known arguments of
// functions no longer change, at most a few times.
func (p *program) follow() error {
	const rounds = 4
	steps := 0
	for range rounds {
		p.before = map[int]*state{}
		for start, f := range p.code.funcs {
			if err := p.followFrom(start, f.entry(), &steps); err != nil {
				return err
			}
		}
		if !p.pass() {
			break
		}
	}
	return nil
}

// entry returns the state when f is entered.
func (f *function) entry() *state {
	s := &state{}
	s.regs[asm.RFP] = value{kind: stack}
	for i := range f.args {
		s.regs[i+1] = value{kind: argument, id: uint32(i)}
		if v := f.args[i]; f.called[i] && (v.kind == mapItself || v.kind == constant) {
			s.regs[i+1] = v
		}
	}
	return s
}

func (p *program) followFrom(start int, entry *state, steps *int) error {
	p.before[start] = entry
	work := []int{start}
	for len(work) > 0 {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		end, s := p.block(i, func(int, *asm.Instruction, *state) { *steps++ })
		if *steps > maxSteps {
			return errTooLong
		}
		next, _ := p.code.next(end)
		for _, n := range next {
			if known := p.before[n]; known == nil {
				p.before[n] = s.clone()
				work = append(work, n)
			} else if known.join(s) {
				work = append(work, n)
			}
		}
	}
	return nil
}

// block applies the instructions of the block that begins at i to a copy of its state. It calls each with every
// instruction and the state before that. It returns the block's last instruction and the state after it.
func (p *program) block(i int, each func(int, *asm.Instruction, *state)) (end int, s *state) {
	s = p.before[i].clone()
	for {
		ins := p.code.at[i]
		each(i, ins, s)
		if isCall(ins) {
			p.call(i, ins, s)
		} else {
			p.step(s, ins)
		}
		next, jumps := p.code.next(i)
		if jumps || len(next) != 1 || p.code.leaders[next[0]] || p.code.funcs[next[0]] != nil {
			return i, s
		}
		i = next[0]
	}
}

// call applies the call ins at index i to s.
func (p *program) call(i int, ins *asm.Instruction, s *state) {
	first := s.regs[asm.R1]
	s.afterCall()
	s.regs[asm.R0] = value{}
	if ins.Src != 0 || first.kind != mapItself {
		return
	}
	if first.id == p.ring {
		s.regs[asm.R0] = value{kind: record, id: uint32(i)}
	} else {
		s.regs[asm.R0] = value{kind: mapInside, id: first.id} // bpf_map_lookup_elem
	}
}

// pass sets the known arguments of functions from the calls of them, and reports whether any changed.
func (p *program) pass() (changed bool) {
	learned := map[int]*function{}
	for i := range p.before {
		p.block(i, func(i int, ins *asm.Instruction, s *state) {
			target, ok := p.code.callee(i)
			if !ok {
				return
			}
			f := learned[target]
			if f == nil {
				f = &function{}
				learned[target] = f
			}
			for n := range f.args {
				v := s.regs[n+1]
				if f.called[n] && f.args[n] != v {
					v = value{}
				}
				f.args[n], f.called[n] = v, true
			}
		})
	}
	for target, f := range learned {
		known := p.code.funcs[target]
		if known.args != f.args || known.called != f.called {
			known.args, known.called = f.args, f.called
			changed = true
		}
	}
	return changed
}
