package arenaxdp

import (
	"runtime"
	"testing"

	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/order"
)

// The verifier removes the barriers of arena_table.h where the loader sets arena_ordered. The program has
// no other atomic instructions.
func TestBarriersOnlyWhereLoadsAreReordered(t *testing.T) {
	h, _ := newKV(t)
	info, err := newRunner(t, h).c.Programs[bpfProgKvGet].Info()
	if err != nil {
		t.Fatal(err)
	}
	program, err := info.Instructions()
	if err != nil {
		t.Fatal(err)
	}
	barriers := 0
	for _, ins := range program {
		if ins.OpCode.Class() == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode {
			barriers++
		}
	}
	if want := !order.Total(runtime.GOARCH); barriers > 0 != want {
		t.Errorf("%d barriers in %d instructions on %s, want any: %t", barriers, len(program), runtime.GOARCH, want)
	}
}
