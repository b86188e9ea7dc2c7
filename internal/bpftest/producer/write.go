package producer

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Write appends records, each of at most 64 bytes, to ring. It is for examples that print records
// as text. It loads a program of its own.
func Write(ring *ebpf.Map, records ...string) error {
	const most = 64
	var code asm.Instructions
	for _, rec := range records {
		if len(rec) > most {
			return fmt.Errorf("write record: length of %d bytes exceeds %d", len(rec), most)
		}
		for i := range rec {
			code = append(code, asm.StoreImm(asm.R10, int16(i-most), int64(rec[i]), asm.Byte))
		}
		code = append(code,
			asm.LoadMapPtr(asm.R1, ring.FD()),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, -most),
			asm.Mov.Imm(asm.R3, int32(len(rec))),
			asm.Mov.Imm(asm.R4, 0), // flags
			asm.FnRingbufOutput.Call(),
			asm.JNE.Imm(asm.R0, 0, "exit"),
		)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SocketFilter,
		Instructions: append(code, asm.Mov.Imm(asm.R0, 0), asm.Return().WithSymbol("exit")),
	})
	if err != nil {
		return err
	}
	defer prog.Close()
	const ethernet = 14 // length of the shortest packet that the kernel accepts, in bytes
	ret, err := prog.Run(&ebpf.RunOptions{Data: make([]byte, ethernet)})
	if err == nil && ret != 0 {
		err = fmt.Errorf("bpf_ringbuf_output returned %d", int32(ret))
	}
	return err
}
