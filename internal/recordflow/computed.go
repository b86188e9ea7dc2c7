package recordflow

import (
	"slices"

	"github.com/cilium/ebpf/asm"
)

// maxBack is how many instructions before a store are searched.
const maxBack = 64

// computedAt returns the line of the instruction that computed the value that the store at i stores, if that is in the
// same block. A constant has none: the compiler loads it once for all its uses.
func (c *code) computedAt(i int) Line {
	if c.at[i].OpCode.Class() != asm.StXClass || c.at[i].OpCode.Mode() != asm.MemMode {
		return Line{}
	}
	reg := c.at[i].Src
	for low := i - maxBack; ; {
		var from asm.Register
		switch i, from = c.setBefore(i, low, reg); {
		case i < 0:
			return Line{}
		case from != noReg:
			reg = from
		case c.isOpaque(i, reg):
			return Line{}
		default:
			return c.lineOf(i)
		}
	}
}

// argumentAt returns the line of the instruction that computed the address that the call at i gets in the register: where
// a call goes over several lines, or an inlined function makes it, it is the line of the argument.
func (c *code) argumentAt(i int, reg asm.Register) Line {
	if l, ok := c.arguments[i]; ok {
		return l
	}
	var l Line
	if at, _ := c.setBefore(i, i-maxBack, reg); at >= 0 {
		l = c.lineOf(at)
	}
	if l == (Line{}) || l == c.lineOf(i) {
		if all := c.linesOnPaths(i, reg); len(all) == 1 {
			l = all[0]
		}
	}
	if c.arguments == nil {
		c.arguments = map[int]Line{}
	}
	c.arguments[i] = l
	return l
}

// setBefore returns the last instruction before i in its block that sets the register, and the other register that it
// only copies, if it does. It returns -1 if there is none from low on.
func (c *code) setBefore(i, low int, reg asm.Register) (ins int, from asm.Register) {
	for i > max(low, 0) && !c.leaders[i] {
		if i--; c.at[i] == nil {
			continue
		}
		if sets, from := c.sets(i, reg); sets {
			return i, from
		}
	}
	return -1, noReg
}

// noReg is no register.
const noReg = asm.Register(0xff)

// sets reports whether instruction i sets the register, and to which other one if it only copies that.
func (c *code) sets(i int, reg asm.Register) (sets bool, from asm.Register) {
	ins := c.at[i]
	switch class := ins.OpCode.Class(); {
	case isCall(ins):
		return reg <= asm.R5, noReg
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		return reg == ins.Src || reg == asm.R0, noReg
	case !class.IsALU() && !class.IsLoad() || ins.Dst != reg:
		return false, noReg
	case class.IsALU() && ins.OpCode.ALUOp() == asm.Mov && ins.OpCode.Source() == asm.RegSource && ins.Offset == 0:
		return true, ins.Src
	}
	return true, noReg
}

// isOpaque reports whether it is not known what the register that instruction i sets is for: it is a constant, or lost
// in a call or an atomic operation.
func (c *code) isOpaque(i int, reg asm.Register) bool {
	ins := c.at[i]
	class := ins.OpCode.Class()
	return isCall(ins) && reg != asm.R0 || class.IsStore() || class == asm.LdClass ||
		class.IsALU() && ins.OpCode.ALUOp() == asm.Mov
}

// Bounds of the search for the values that paths join.
const (
	maxPaths     = 8   // lines
	maxPathSteps = 256 // instructions
)

// computedOnPaths returns the lines of the instructions that computed the values that the store at i stores, on the paths
// that lead to it. Constants have none.
func (c *code) computedOnPaths(i int) (lines []Line) {
	if c.at[i].OpCode.Class() != asm.StXClass || c.at[i].OpCode.Mode() != asm.MemMode {
		return nil
	}
	return c.linesOnPaths(i, c.at[i].Src)
}

// linesOnPaths returns the lines of the instructions that computed what the register holds at i, on the paths that lead to
// it. Constants have none.
func (c *code) linesOnPaths(i int, reg asm.Register) (lines []Line) {
	type point struct {
		ins int
		reg asm.Register
	}
	todo := []point{{i, reg}}
	seen := map[point]bool{todo[0]: true}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, before := range c.predecessors(at.ins) {
			sets, from := c.sets(before, at.reg)
			next := point{before, at.reg}
			switch {
			case sets && from == noReg && c.isOpaque(before, at.reg):
				continue
			case sets && from == noReg:
				if l := c.lineOf(before); l != (Line{}) && !slices.Contains(lines, l) {
					lines = append(lines, l)
				}
				continue
			case sets:
				next.reg = from
			}
			if !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
		if len(seen) > maxPathSteps || len(lines) > maxPaths {
			return nil
		}
	}
	return lines
}

// predecessors returns the instructions that can run before i.
func (c *code) predecessors(i int) []int {
	if c.before == nil {
		c.before = make([][]int, len(c.at))
		for from, next := range c.after {
			for _, to := range next {
				c.before[to] = append(c.before[to], from)
			}
		}
	}
	return c.before[i]
}
