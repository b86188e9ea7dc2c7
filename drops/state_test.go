package drops

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
	"github.com/rbtool/rbtool/internal/syscall"
)

// A program can be loaded, and call, after the programs were listed and before the calls are read.
func TestProgramLoadedBeforeTheCallsWereRead(t *testing.T) {
	st := newState()
	st.programs.refresh()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "newcomer", Type: ebpf.SocketFilter, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	funcs, err := syscall.ReadProgramFunctions(id)
	if err != nil {
		t.Fatal(err)
	}
	call := ringcalls.Caller{Ring: 1, Address: funcs[0].Address + 1, All: ringcalls.Tally{Calls: 5}}
	st.take(&ringcalls.Snapshot{Callers: []ringcalls.Caller{call}})
	for key, by := range st.callers {
		if by.name != "newcomer" || key.program != id || by.tally.Calls != 5 {
			t.Errorf("%+v: %+v", key, by)
		}
	}
	if len(st.callers) != 1 {
		t.Errorf("%d callers", len(st.callers))
	}
}
