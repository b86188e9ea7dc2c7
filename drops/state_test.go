package drops

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"

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

// An agent that is started anew can get the addresses of the one that ended.
func TestProgramReplacedAtItsAddress(t *testing.T) {
	const address = 1000
	st := newState()
	load := func(id ebpf.ProgramID, name string) {
		st.programs.byID[id] = &program{id: id, name: name, funcs: []syscall.ProgramFunction{{Address: address, Size: 100}}}
	}
	take := func(calls uint64) {
		st.take(&ringcalls.Snapshot{Callers: []ringcalls.Caller{{Ring: 1, Address: address + 50, All: ringcalls.Tally{Calls: calls}}}})
	}
	load(7, "before")
	take(5)
	st.programs.byID[7].gone = true
	load(8, "after")
	take(9) // since then
	if stale := st.stale(); len(stale) != 0 {
		t.Errorf("stale: %v", stale)
	}
	st.programs.dropGone()
	take(12)
	got := map[string]uint64{}
	for _, by := range st.callers {
		got[by.name] += by.tally.Calls
	}
	if diff := cmp.Diff(map[string]uint64{"before": 9, "after": 3}, got); diff != "" {
		t.Error(diff)
	}
	st.programs.byID[8].gone = true
	if stale := st.stale(); len(stale) != 1 || len(st.sites) != 0 {
		t.Errorf("stale: %v", stale)
	}
}
