package recordflow

import (
	"maps"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// code is a program's instructions by raw index: a load of a 64-bit immediate has two indexes.
type code struct {
	at      []*asm.Instruction // nil for the second index of an instruction
	leaders []bool             // a block begins at this index
	after   [][]int            // what can run next: what next returns
	before  [][]int            // the reverse; nil until predecessors is called
	// arguments are the lines that argumentAt has found, by the index of the call; no call has several.
	arguments map[int]Line
	rank      []int32           // greater than those of the instructions that run before, loops aside
	funcs     map[int]*function // by index of the first instruction
	starts    []int             // the indexes in funcs, in order
}

// function is a function of the program.
type function struct {
	name   string
	params []btf.FuncParam
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
	c.after = make([][]int, len(c.at))
	links := make([]int, 0, 2*len(c.at))
	if c.funcs[0] == nil {
		c.funcs[0] = &function{name: "the program"}
	}
	for i, ins := range c.at {
		if ins == nil {
			continue
		}
		target, calls := c.callee(i)
		if !calls && ins.IsLoadOfFunctionPointer() {
			target = i + 1 + int(int32(ins.Constant))
		}
		if (calls || ins.IsLoadOfFunctionPointer()) && c.valid(target) && c.funcs[target] == nil {
			c.funcs[target] = &function{name: "a function"}
		}
		next, ends := c.next(links[len(links):], i)
		links = links[:len(links)+len(next)]
		c.after[i] = next
		ends = ends || calls
		for _, n := range next {
			c.leaders[n] = c.leaders[n] || ends || len(next) > 1
		}
	}
	c.starts = slices.Sorted(maps.Keys(c.funcs))
	for _, start := range c.starts {
		c.leaders[start] = true
	}
	c.order()
	return c
}

// order sets c.rank: the reverse of the order in which a depth-first search leaves the instructions.
func (c *code) order() {
	c.rank = make([]int32, len(c.at))
	next := make([]uint8, len(c.at)) // how many of after the search has followed, plus 1
	left := int32(len(c.at))
	var path []int
	for _, start := range c.starts {
		if next[start] != 0 {
			continue
		}
		for path = append(path, start); len(path) > 0; {
			i := path[len(path)-1]
			next[i] = max(next[i], 1)
			if n := int(next[i]) - 1; n < len(c.after[i]) {
				next[i]++
				if to := c.after[i][n]; next[to] == 0 {
					path = append(path, to)
				}
				continue
			}
			left--
			c.rank[i] = left
			path = path[:len(path)-1]
		}
	}
}

// valid reports whether an instruction begins at i.
func (c *code) valid(i int) bool { return i >= 0 && i < len(c.at) && c.at[i] != nil }

// lineOf returns the source line of instruction i. The kernel records a line only for the first of its
// instructions. Code that the compiler merged from several paths has no line; it is not that of another block.
func (c *code) lineOf(i int) Line {
	for ; i >= 0; i-- {
		if c.at[i] == nil {
			continue
		}
		switch src := c.at[i].Source().(type) {
		case nil:
		case *btf.Line:
			return Line{src.FileName(), int(src.LineNumber()), int(src.LineColumn()), src.Line()}
		default:
			return Line{Text: src.String()}
		}
		if c.funcs[i] != nil || c.leaders[i] {
			break
		}
	}
	return Line{}
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
	return target, c.valid(target)
}

func isCall(ins *asm.Instruction) bool {
	return ins.OpCode.Class() == asm.JumpClass && ins.OpCode.JumpOp() == asm.Call
}

// next appends the instructions that can run after instruction i to next, at most two, and reports whether i is a
// jump or exit.
func (c *code) next(next []int, i int) (_ []int, jumps bool) {
	ins := c.at[i]
	after := i + int(ins.Width())
	class, op := ins.OpCode.Class(), ins.OpCode.JumpOp()
	add := func(n int) {
		if c.valid(n) {
			next = append(next, n)
		}
	}
	switch {
	case class != asm.JumpClass && class != asm.Jump32Class || op == asm.Call:
		add(after)
		return next, false
	case op == asm.Exit:
		return next, true
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
