package userprod

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/ring"
)

// onRing does with m's memory what no producer should.
func onRing(tb testing.TB, m *ebpf.Map, do func(mem *ring.Mapping)) {
	tb.Helper()
	mem, err := ring.Produce(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		tb.Fatal(err)
	}
	do(mem)
	if err := mem.Unmap(); err != nil {
		tb.Error(err)
	}
}
