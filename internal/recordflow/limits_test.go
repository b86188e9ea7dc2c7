package recordflow

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// reserveAnd returns a program that reserves a record of 8 bytes, passes it to the function after it and submits
// it.
func reserveAnd(function ...asm.Instruction) *Program {
	call := func(fn asm.BuiltinFunc) asm.Instruction {
		return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Constant: int64(fn)}
	}
	insns := asm.Instructions{
		{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R1, Src: asm.PseudoMapFD, Constant: 7},
		asm.Mov.Imm(asm.R2, 8), asm.Mov.Imm(asm.R3, 0), call(asm.FnRingbufReserve),
		asm.Mov.Reg(asm.R6, asm.R0), asm.Mov.Reg(asm.R1, asm.R6),
		callOf(4), // the function begins after the exit
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, 0), call(asm.FnRingbufSubmit),
		asm.Return(),
	}
	return &Program{
		Insns:  append(insns, function...),
		Maps:   map[uint32]Map{7: {Type: ebpf.RingBuf, Ring: true}},
		Helper: func(imm int32) string { return nameInC(asm.BuiltinFunc(imm)) },
	}
}

// callOf calls the function that begins distance instructions after the next one.
func callOf(distance int16) asm.Instruction {
	return asm.Instruction{
		OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Offset: distance,
	}
}

func onlySite(t *testing.T, p *Program) *Site {
	t.Helper()
	f, err := Analyze(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Sites) != 1 {
		t.Fatalf("%d sites: %v", len(f.Sites), summary(f))
	}
	return f.Sites[0]
}

func TestFunctionThatIsFollowed(t *testing.T) {
	s := onlySite(t, reserveAnd(asm.StoreImm(asm.R1, 4, 5, asm.Word), asm.Return()))
	if s.Escapes || len(s.Writes) != 1 || s.Writes[0].Off != 4 || s.Writes[0].Const != 5 {
		t.Errorf("%+v", s)
	}
}

// The verifier refuses recursion, and calls that are nested deeper than 8.
func TestFunctionThatCannotBeFollowed(t *testing.T) {
	recursive := reserveAnd(callOf(-1), asm.Return())
	if s := onlySite(t, recursive); !s.Escapes {
		t.Errorf("the record does not escape to a recursive function: %+v", s)
	}
	var nested []asm.Instruction
	for range 9 {
		nested = append(nested, callOf(1), asm.Return())
	}
	if s := onlySite(t, reserveAnd(append(nested, asm.Return())...)); !s.Escapes {
		t.Errorf("the record does not escape to a function that is nested too deeply: %+v", s)
	}
}

// A record escapes if a pointer to it is stored where others can load it.
func TestStoredPointer(t *testing.T) {
	leak := []asm.Instruction{
		{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R2, Src: asm.PseudoMapValue, Constant: 8},
		asm.StoreMem(asm.R2, 0, asm.R1, asm.DWord), asm.Return(),
	}
	if s := onlySite(t, reserveAnd(leak...)); !s.Escapes {
		t.Errorf("%+v", s)
	}
	spill := []asm.Instruction{asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord), asm.Return()}
	if s := onlySite(t, reserveAnd(spill...)); s.Escapes {
		t.Errorf("%+v", s)
	}
}

// Each function calls the next one three times: there are more contexts than are followed.
func TestManyContexts(t *testing.T) {
	var tripling []asm.Instruction
	for range 7 {
		tripling = append(tripling, callOf(3), callOf(2), callOf(1), asm.Return())
	}
	p := reserveAnd(append(tripling, asm.Return())...)
	a := newAnalysis(p, newCode(p.Insns), scope{})
	if err := a.run(); err != nil {
		t.Fatal(err)
	}
	// Functions that are not followed are analyzed by themselves.
	if n := len(a.contexts); n < maxContexts || n > maxContexts+len(a.code.starts) {
		t.Errorf("%d contexts, want about %d", n, maxContexts)
	}
}

func TestTooManySteps(t *testing.T) {
	p := reserveAnd(asm.Return())
	a := newAnalysis(p, newCode(p.Insns), scope{})
	a.steps = 1 << 30
	if err := a.run(); !errors.Is(err, errTooLong) {
		t.Errorf("%v, want %v", err, errTooLong)
	}
}

// If it takes too many steps to follow the stack, what is on it is unknown, and said to be.
func TestNarrowScope(t *testing.T) {
	p := fromObject(t, "on_stack", "ring")
	a := newAnalysis(p, newCode(p.Insns), scope{})
	if err := a.run(); err != nil {
		t.Fatal(err)
	}
	if want := a.wanted(); !want.stack || len(want.maps) > 0 {
		t.Errorf("wants %+v", want)
	}
	if s := a.sites()[0]; !s.Escapes || len(s.Writes) > 0 {
		t.Errorf("%+v", s)
	}
}

// The compiler makes many calls of one in a loop that it unrolls.
func TestCallsThatAreAlike(t *testing.T) {
	once := reserveAnd().Insns[:11]
	program := func(constants ...int64) *Program {
		p := reserveAnd()
		p.Insns = nil
		for _, c := range constants {
			p.Insns = append(p.Insns, once[:5]...)
			p.Insns = append(p.Insns, asm.StoreImm(asm.R6, 0, c, asm.Word))
			p.Insns = append(p.Insns, once[7:10]...)
		}
		p.Insns = append(p.Insns, asm.Mov.Imm(asm.R0, 0), asm.Return())
		return p
	}
	if s := onlySite(t, program(1, 1, 1)); s.More != 2 || s.Ins != 4 {
		t.Errorf("the first of three: call %d and %d more", s.Ins, s.More)
	}
	f, err := Analyze(program(1, 2, 1))
	if err != nil || len(f.Sites) != 2 || f.Sites[0].More != 1 || f.Sites[1].More != 0 {
		t.Errorf("one that writes something else: %v: %v", err, summary(f))
	}
}

func TestNoInstructions(t *testing.T) {
	if f, err := Analyze(&Program{}); err == nil {
		t.Errorf("%+v of no instructions", f)
	}
}
