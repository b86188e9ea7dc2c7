package stream

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/testenv"
)

// A ring called events, to which a program called handle_exec writes, need not be the tracer's: both names are common.
func TestARingWithTheNamesOfTheTracers(t *testing.T) {
	ring := testenv.Map(t, &ebpf.MapSpec{Name: "events", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "handle_exec", Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMapPtr(asm.R1, ring.FD()),
			asm.Mov.Imm(asm.R2, 8),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnRingbufReserve.Call(),
			asm.JEq.Imm(asm.R0, 0, "exit"),
			asm.Mov.Reg(asm.R1, asm.R0),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnRingbufDiscard.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("exit"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	types, err := FindTypes(ring, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(types.Notes, "\n")
	if types.known || !strings.Contains(notes, "(handle_exec)") || strings.Contains(notes, "proctrace") {
		t.Errorf("known %t: %s", types.known, notes)
	}
}
