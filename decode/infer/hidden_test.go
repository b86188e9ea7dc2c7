package infer

import (
	"bytes"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/syscall"
)

// hidden returns a program of testdata/foreign.bpf.c as the kernel dumps it to processes that
// cannot see kernel addresses: the ring has the id 7, and calls of helpers have the immediate 0.
func hidden(t *testing.T, name, ring string, lines bool) *program {
	t.Helper()
	b, err := os.ReadFile("testdata/foreign_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	insns := coll.Programs[name].Instructions
	for i := range insns {
		ins := &insns[i]
		switch {
		case ins.IsLoadFromMap() && ins.Reference() == ring:
			ins.Constant = 7
		case ins.IsLoadFromMap():
			ins.Constant = 8
		case ins.IsBuiltinCall():
			ins.Constant = 0
		}
		if !lines {
			*ins = ins.WithSource(nil)
		}
	}
	p := &program{
		info: &syscall.ProgramInfo{Name: name}, maps: map[uint32]recordflow.Map{7: {Ring: true}},
		sources: []source{{catalog: newCatalog(coll.Types), why: "the program's BTF", same: true}},
	}
	p.flow, err = recordflow.Analyze(&recordflow.Program{Insns: insns, Maps: p.maps})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHelpersThatTheKernelHides(t *testing.T) {
	tests := []struct {
		program, ring string
		call          string
		size          int64
	}{
		{"argument", "by_argument", recordflow.Reserve, 24},
		{"variable", "by_variable", recordflow.Output, 16},
		{"size", "by_size", recordflow.Reserve, 40},
	}
	for _, tt := range tests {
		for how, lines := range map[string]bool{recordflow.ByLine: true, recordflow.ByArguments: false} {
			t.Run(tt.program+", "+how, func(t *testing.T) {
				p := hidden(t, tt.program, tt.ring, lines)
				if len(p.flow.Sites) != 1 {
					t.Fatalf("%d sites", len(p.flow.Sites))
				}
				if s := p.site(p.flow.Sites[0]); s.Call != tt.call || s.Size != tt.size || s.How != how {
					t.Errorf("%s of %d bytes, %s", s.Call, s.Size, s.How)
				}
			})
		}
	}
}
