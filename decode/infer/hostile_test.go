package infer_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Kinds of BTF types, as they stand in the word info with the number of members.
const (
	aInt    = 1 << 24
	aPtr    = 2 << 24
	anArray = 3 << 24
	aStruct = 4 << 24
	aUnion  = 5 << 24
)

// rawBTF returns BTF with the words of types, of which the first is int, and the name "a" at offset 1.
func rawBTF(types ...[]uint32) []byte {
	var body bytes.Buffer
	binary.Write(&body, binary.LittleEndian, []uint32{1, aInt, 4, 32})
	for _, words := range types {
		binary.Write(&body, binary.LittleEndian, words)
	}
	const names = "\x00a\x00"
	header := []uint32{0x0001eb9f, 24, 0, uint32(body.Len()), uint32(body.Len()), uint32(len(names))}
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, header)
	b.Write(body.Bytes())
	b.WriteString(names)
	return b.Bytes()
}

// chain returns n structs, each with a pointer to the next one; the last one points to the first.
func chain(n int) []byte {
	var all []uint32
	for i := range uint32(n) {
		all = append(all, 0, aPtr, 3+2*i, 1, aStruct|1, 8, 1, (2*i+2)%(2*uint32(n))+2, 0)
	}
	return rawBTF(all)
}

// wide returns unions in each other, each with many members of the same type. The innermost ones are ints.
func wide(levels, members int) []byte {
	var all []uint32
	for level := range uint32(levels) {
		all = append(all, 1, aUnion|uint32(members), 4)
		for range members {
			all = append(all, 1, level+1, 0)
		}
	}
	return rawBTF(all)
}

// nested returns an array in an array, and so on.
func nested(levels int) []byte {
	var all []uint32
	for level := range uint32(levels) {
		all = append(all, 0, anArray, 0, level+1, 1, 1)
	}
	return rawBTF(append(all, 1, aStruct|1, 4, 1, uint32(levels)+1, 0))
}

// An answer is short although the BTF in the kernel is made to take long: types in each other without end ended the process.
func TestHostileBTF(t *testing.T) {
	tests := []struct {
		rule  string
		raw   []byte
		value uint32 // type of the map's value, of 4 or 8 bytes
		size  uint32
		why   string
	}{
		{"a short chain of types", chain(100), 3, 8, "a is the only type in the programs' BTF that has a fitting size"},
		{"a chain of types that recursion cannot follow", chain(100_000), 3, 8, "types nested too deeply"},
		{"too many types", chain(200_000), 3, 8, "more than 262144 types"},
		{"unions in each other", wide(4, 60_000), 2, 4, "4 types that fit: a, a, a, a"},
		{"arrays in each other", nested(28), 30, 4, "a is the only type in the programs' BTF that has a fitting size"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			types, err := btf.NewHandleFromRawBTF(tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			defer types.Close()
			ring := testenv.Map(t, &ebpf.MapSpec{Name: "rb", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
			value := typedMap(t, types, tt.value, tt.size)
			reserves(t, ring, value, int32(tt.size))
			var found *infer.Result
			got := testenv.Allocated(func() { found, err = infer.Of(ring, infer.Options{}) })
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join(found.Explain(), "\n")
			t.Logf("%d MiB: %s", got>>20, said)
			if !strings.Contains(said, tt.why) {
				t.Errorf("%s, want %s", said, tt.why)
			}
			if got > 200<<20 {
				t.Errorf("%d MiB allocated", got>>20)
			}
		})
	}
}

// typedMap creates an array whose values have a type of some BTF.
func typedMap(t *testing.T, types *btf.Handle, value, size uint32) int {
	t.Helper()
	attr := struct { // union bpf_attr of BPF_MAP_CREATE
		kind, key, value, max, flags, inner, node uint32
		name                                      [unix.BPF_OBJ_NAME_LEN]byte
		ifindex, btf, keyType, valueType          uint32
	}{kind: uint32(ebpf.Array), key: 4, value: size, max: 1, btf: uint32(types.FD()), keyType: 1, valueType: value}
	// SAFETY: the kernel reads Sizeof(attr) bytes of attr, which contains no pointers.
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	return int(fd)
}

// reserves loads a program that uses another map and puts records of size bytes into the ring.
func reserves(t *testing.T, ring *ebpf.Map, other int, size int32) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "reserves", Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMapPtr(asm.R1, other), asm.LoadMapPtr(asm.R1, ring.FD()), asm.Mov.Imm(asm.R2, size), asm.Mov.Imm(asm.R3, 0),
			asm.FnRingbufReserve.Call(), asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Reg(asm.R1, asm.R0), asm.Mov.Imm(asm.R2, 0), asm.FnRingbufSubmit.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
}
