package drain

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// With pages of 16 KiB the offsets of positions and data in a ring exceed the 16 bits of a load
// instruction.
func TestOffsetsOfARingFitAnyPageSize(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for name, prog := range spec.Programs {
		for i, ins := range prog.Instructions {
			r := btf.CORERelocationMetadata(&ins)
			if r == nil || !strings.Contains(r.String(), `"bpf_ringbuf"`) {
				continue
			}
			found++
			// [0:0] is the offset of the member mask.
			if !strings.Contains(r.String(), "[0:0]") && !ins.OpCode.Class().IsALU() {
				t.Errorf("%s, instruction %d: %v has the offset of %v", name, i, ins, r)
			}
		}
	}
	if found == 0 {
		t.Error("no instruction has the offset of a member of bpf_ringbuf")
	}
}
