package progreader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/progcode"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func newReader(t *testing.T) *Reader {
	t.Helper()
	r, err := New()
	if err != nil {
		testenv.SkipIfNotSupported(t, "iter-bpf-map", err)
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// The reader's own programs are programs like others: what it says of them is what bpf(2) says.
func TestProgramsAsBPFTellsThem(t *testing.T) {
	testenv.NoLeaks(t)
	r := newReader(t)
	found, err := r.Programs()
	if err != nil {
		t.Fatal(err)
	}
	byID := map[ebpf.ProgramID]*syscall.ProgramInfo{}
	for _, p := range found {
		byID[p.ID] = p
	}
	for _, prog := range []*ebpf.Program{r.objects.bpfPrograms.Programs, r.objects.bpfPrograms.Copy} {
		info, err := prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		want, err := syscall.ReadProgramInfo(id)
		if err != nil {
			t.Fatal(err)
		}
		want.UID = 0
		if diff := cmp.Diff(want, byID[id]); diff != "" {
			t.Errorf("-bpf(2) +reader:\n%s", diff)
		}
		for _, m := range want.Maps {
			of, err := syscall.ReadMapInfo(m)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(of, r.Map(m)); diff != "" {
				t.Errorf("map: -bpf(2) +reader:\n%s", diff)
			}
		}
		insns := instructions(t, r, id, want.BTF)
		dumped, err := info.Instructions()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(listing(dumped), listing(insns)); diff != "" {
			t.Errorf("%s: -bpf(2) +reader:\n%s", want.Name, diff)
		}
	}
}

// instructions returns what the reader tells of a program.
func instructions(t *testing.T, r *Reader, id ebpf.ProgramID, types btf.ID) asm.Instructions {
	t.Helper()
	raw, err := r.BTF(types, maxCopy)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.BTF(types, uint32(len(raw))-1); !errors.Is(err, syscall.ErrTooLarge) {
		t.Errorf("BTF that is too large: %v", err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	code, err := r.Code(id)
	if err != nil {
		t.Fatal(err)
	}
	insns, err := progcode.Instructions(code, spec)
	if err != nil {
		t.Fatal(err)
	}
	return insns
}

// listing describes each instruction with its line and function.
func listing(insns asm.Instructions) (lines []string) {
	for i := range insns {
		line, name := "", ""
		if l, ok := insns[i].Source().(*btf.Line); ok {
			line = fmt.Sprint(l.LineNumber(), l.Line())
		}
		if f := btf.FuncMetadata(&insns[i]); f != nil {
			name = f.Name
		}
		ins := insns[i]
		lines = append(lines, fmt.Sprintf("%d %d %d %d %d %q %q", ins.OpCode, ins.Dst, ins.Src, ins.Offset, ins.Constant, name, line))
	}
	return lines
}

func TestWhatIsNotThere(t *testing.T) {
	r := newReader(t)
	if _, err := r.Programs(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Code(math.MaxUint32); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("program: %v", err)
	}
	if _, err := r.BTF(math.MaxUint32, maxCopy); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("BTF: %v", err)
	}
	if r.Map(math.MaxUint32) != nil {
		t.Error("a map that does not exist")
	}
	if _, err := r.copy(bpfRange{Addr: 8, Count: 1}, 1); err == nil {
		t.Error("memory that does not exist")
	}
	if _, err := r.copy(bpfRange{Count: maxCopy}, 2); err == nil {
		t.Error("more than the limit")
	}
}

func TestInnerMaps(t *testing.T) {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	in := testenv.Map(t, inner)
	want, err := syscall.MapInfoOf(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, outer := range []*ebpf.MapSpec{
		{Type: ebpf.ArrayOfMaps, KeySize: 4, MaxEntries: 300, InnerMap: inner},
		{Type: ebpf.HashOfMaps, KeySize: 12, MaxEntries: 300, InnerMap: inner},
		{Type: ebpf.HashOfMaps, KeySize: 4, MaxEntries: 300, InnerMap: inner, Flags: unix.BPF_F_NO_PREALLOC},
	} {
		m := testenv.Map(t, outer)
		key := make([]byte, outer.KeySize)
		key[0] = 200
		if err := m.Put(key, in); err != nil {
			t.Fatal(err)
		}
		info, err := syscall.MapInfoOf(m)
		if err != nil {
			t.Fatal(err)
		}
		r := newReader(t)
		if _, err := r.Programs(); err != nil {
			t.Fatal(err)
		}
		found, err := r.Inner(info.ID)
		if outer.Flags != 0 {
			if !errors.Is(err, ErrNotPreallocated) {
				t.Errorf("not preallocated: %v, %v", found, err)
			}
			continue
		}
		if diff := cmp.Diff([]ebpf.MapID{want.ID}, found); err != nil || diff != "" {
			t.Errorf("%s: %v %s", outer.Type, err, diff)
		}
		for _, none := range []ebpf.MapID{want.ID, math.MaxUint32} {
			if found, err = r.Inner(none); err != nil || found != nil {
				t.Errorf("map %d holds maps: %v, %v", none, found, err)
			}
		}
	}
}

// Addresses become ids, as in the kernel's dump.
func TestDump(t *testing.T) {
	m := &bpfMapEntry{Id: 7, Type: uint32(ebpf.Array), Addr: 0xffff_8880_0000_1000, Values: 0xffff_8880_0000_1100, ValueSize: 16}
	load := func(addr uint64) []byte {
		raw := make([]byte, 16)
		raw[0], raw[1] = loadImm64, 0x01
		binary.NativeEndian.PutUint32(raw[4:], uint32(addr))
		binary.NativeEndian.PutUint32(raw[12:], uint32(addr>>32))
		return raw
	}
	tests := []struct {
		rule     string
		raw      []byte
		src      byte
		low, top uint32
	}{
		{"the map", load(m.Addr), byte(asm.PseudoMapFD), 7, 0},
		{"a variable", load(m.Values + 8), byte(asm.PseudoMapValue), 7, 8},
		{"after the variables", load(m.Values + 16), 0, 0x1110, 0xffff8880},
		{"a constant", load(5), 0, 5, 0},
	}
	for _, tt := range tests {
		dump(tt.raw, []*bpfMapEntry{m})
		if src, low, top := tt.raw[1]>>4, binary.NativeEndian.Uint32(tt.raw[4:]), binary.NativeEndian.Uint32(tt.raw[12:]); src != tt.src || low != tt.low || top != tt.top {
			t.Errorf("%s: source %d, %#x, %#x", tt.rule, src, low, top)
		}
	}
	for code, want := range map[byte]byte{0x39: 0x79, 0x21: 0x61, 0x59: 0x99, 0xbb: 0x7b, 0x7b: 0x7b, 0xe5: 0x85, 0x85: 0x85} {
		raw := make([]byte, 8)
		raw[0] = code
		if dump(raw, nil); raw[0] != want {
			t.Errorf("code %#x becomes %#x, want %#x", code, raw[0], want)
		}
	}
	dump([]byte{loadImm64, 0, 0, 0, 0, 0, 0, 0, 1}, nil) // cut
}

// What an unloaded program had can be read as anything.
func FuzzDump(f *testing.F) {
	f.Add([]byte{loadImm64, 0x01, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, call, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		dump(raw, []*bpfMapEntry{{Id: 7, Addr: 0x1000}, {Id: 8, Type: uint32(ebpf.Array), Values: 0x1000, ValueSize: 1 << 31}})
		asm.AppendInstructions(nil, bytes.NewReader(raw), syscall.HostOrder(), "linux")
	})
}
