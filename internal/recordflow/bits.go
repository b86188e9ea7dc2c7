package recordflow

import "github.com/cilium/ebpf/asm"

// maxPieces is how many operands of a value are looked at.
const maxPieces = 32

// joinsBits reports whether the store at i stores a value that the program puts together of bits that are not whole
// bytes, in the same block: a bitfield beside others. Bytes that it loads one by one, because the number is not aligned, are
// no such bits.
func (c *code) joinsBits(i int) bool {
	store := c.at[i]
	if store.OpCode.Class() != asm.StXClass || store.OpCode.Mode() != asm.MemMode {
		return false
	}
	low := i - maxBack
	by := c.setterOf(i, low, store.Src)
	if by < 0 || !c.at[by].OpCode.Class().IsALU() {
		return false
	}
	ins := c.at[by]
	imm := ins.OpCode.Source() == asm.ImmSource
	switch ins.OpCode.ALUOp() {
	case asm.Or:
		left := maxPieces
		return imm || !c.isPiece(by, low, ins.Dst, &left) || !c.isPiece(by, low, ins.Src, &left)
	case asm.And: // it clears bits of what is there
		load := c.setterOf(by, low, ins.Dst)
		return imm && load >= 0 && c.at[load].OpCode.Class() == asm.LdXClass &&
			c.at[load].Src == store.Dst && c.at[load].Offset == store.Offset
	}
	return false
}

// isPiece reports whether the register before i can have loaded bytes, each of which is moved by a multiple of 8 bits.
func (c *code) isPiece(i, low int, reg asm.Register, left *int) bool {
	by := c.setterOf(i, low, reg)
	if *left--; by < 0 || *left < 0 {
		return true
	}
	ins := c.at[by]
	switch {
	case ins.OpCode.Class() == asm.LdXClass:
		return true
	case !ins.OpCode.Class().IsALU():
		return isCall(ins)
	case ins.OpCode.ALUOp() == asm.LSh && ins.OpCode.Source() == asm.ImmSource && ins.Constant%8 == 0:
		return c.isPiece(by, low, reg, left)
	case ins.OpCode.ALUOp() == asm.Or && ins.OpCode.Source() == asm.RegSource:
		return c.isPiece(by, low, ins.Dst, left) && c.isPiece(by, low, ins.Src, left)
	}
	return ins.OpCode.ALUOp() == asm.Swap
}

// setterOf returns the instruction that computed what the register has before i, through copies; -1 if it is not known.
func (c *code) setterOf(i, low int, reg asm.Register) int {
	for {
		by, from := c.setBefore(i, low, reg)
		if by < 0 || from == noReg {
			return by
		}
		i, reg = by, from
	}
}
