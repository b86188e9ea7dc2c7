package infer_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/testenv"
)

// wakeEvent is the struct into which the owner of a ring, this executable, reads the records.
type wakeEvent struct {
	Cookie uint64
	Cells  [3]uint32
	Flags  uint16
	Kind   uint8
}

// readsEvents is why the executable has a descriptor of wakeEvent.
func readsEvents(b []byte) (e wakeEvent, err error) {
	_, err = binary.Decode(b, binary.LittleEndian, &e)
	return e, err
}

// A struct of a stripped reader in Go is offered for records whose type nothing else tells.
func TestTheStructOfAStrippedReader(t *testing.T) {
	if e, err := readsEvents(make([]byte, 23)); err != nil {
		t.Fatal(e, err)
	}
	ring := testenv.Ring(t, testenv.PageSize)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "wakes", Type: ebpf.SocketFilter, License: "MIT",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 0),
			asm.StoreMem(asm.RFP, -24, asm.R0, asm.DWord),
			asm.StoreMem(asm.RFP, -16, asm.R0, asm.Word),
			asm.StoreMem(asm.RFP, -12, asm.R0, asm.Word),
			asm.StoreMem(asm.RFP, -8, asm.R0, asm.Word),
			asm.StoreMem(asm.RFP, -4, asm.R0, asm.Half),
			asm.StoreMem(asm.RFP, -2, asm.R0, asm.Byte),
			asm.LoadMapPtr(asm.R1, ring.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -24), asm.Mov.Imm(asm.R3, 23), asm.Mov.Imm(asm.R4, 0),
			asm.FnRingbufOutput.Call(), asm.Mov.Imm(asm.R0, 0), asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	testenv.Start(t, "own", ring).Expect(t, "ready")
	found := inferred(t, ring)
	t.Log(strings.Join(found.Explain(), "\n"))
	if len(found.Sites) != 1 || found.Sites[0].Type != nil || !strings.Contains(found.Sites[0].Why, "--type infer_test.wakeEvent, in the Go types of /") {
		t.Errorf("%+v", found.Sites)
	}
}
