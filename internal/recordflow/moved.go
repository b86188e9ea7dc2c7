package recordflow

import "github.com/cilium/ebpf/asm"

// movedFrom returns where on the stack the store at p, into a record, has its value from, if an instruction before it in
// the block loads it: a copy of a struct is such pairs.
func (a *analysis) movedFrom(p place, s *state, to value) (from value, ok bool) {
	if a.notes == nil || !a.is(to, record) || a.code.at[p.ins].OpCode.Class() != asm.StXClass || to.min != to.max {
		return value{}, false
	}
	at, skip := a.code.loadedAt(p.ins)
	if at < 0 {
		return value{}, false
	}
	load := a.code.at[at]
	size, loaded := int64(a.code.at[p.ins].OpCode.Size().Sizeof()), int64(load.OpCode.Size().Sizeof())
	changed, _ := a.code.setBefore(p.ins, at, load.Src)
	// A number that is stored in single bytes is no copy.
	if changed >= 0 || skip+size > loaded || size < loaded/2 {
		return value{}, false
	}
	from = s.regs[load.Src].plus(int64(load.Offset) + skip)
	return from, a.is(from, stack) && from.min == from.max && !a.writtenAfter(place{p.ctx, at}, p, s, from, size)
}

// loadedAt returns the instruction before the store at i in its block that loads the stored value, and how many bytes of
// what it loads are shifted out; -1 if it is no load.
func (c *code) loadedAt(i int) (load int, skip int64) {
	reg := c.at[i].Src
	for at, low := i, i-maxBack; ; {
		var from asm.Register
		if at, from = c.setBefore(at, low, reg); at < 0 {
			return -1, 0
		}
		ins := c.at[at]
		switch class := ins.OpCode.Class(); {
		case from != noReg:
			reg = from
		case class == asm.LdXClass && ins.OpCode.Mode() == asm.MemMode:
			return at, skip
		case ins.OpCode == asm.RSh.Op(asm.ImmSource) && ins.Constant > 0 && ins.Constant%8 == 0:
			skip += ins.Constant / 8
		default:
			return -1, 0
		}
	}
}

// writtenAfter reports whether an instruction between two of a block has written bytes where the pointer points.
func (a *analysis) writtenAfter(first, last place, s *state, where value, size int64) bool {
	f := s.known(where.id)
	if f == nil {
		return true
	}
	for _, def := range f.defs(where.min, where.min+size, &a.defs) {
		if first.def() < def && def < last.def() {
			return true
		}
	}
	return false
}
