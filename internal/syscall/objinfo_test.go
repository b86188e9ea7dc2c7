package syscall_test

import (
	"errors"
	"io/fs"
	"math"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/syscall"
)

func TestInfoOfProgramsAndMaps(t *testing.T) {
	value := &btf.Struct{Name: "value", Size: 4, Members: []btf.Member{{Name: "n", Type: &btf.Int{Name: "int", Size: 4}}}}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "told", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 3,
		Key: &btf.Int{Name: "key", Size: 4}, Value: value,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ofMap, err := syscall.MapInfoOf(m)
	if err != nil {
		t.Fatal(err)
	}
	byID, err := syscall.ReadMapInfo(ofMap.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ofMap, byID); diff != "" {
		t.Errorf("by descriptor (-), by id (+):\n%s", diff)
	}
	if ofMap.BTF == 0 || ofMap.KeyType == 0 || ofMap.ValueType == 0 || ofMap.ValueType == ofMap.KeyType {
		t.Errorf("types of the map: %+v", ofMap)
	}
	want := syscall.MapInfo{ID: ofMap.ID, Type: ebpf.Array, Name: "told", KeySize: 4, ValueSize: 4, MaxEntries: 3,
		BTF: ofMap.BTF, KeyType: ofMap.KeyType, ValueType: ofMap.ValueType}
	if diff := cmp.Diff(&want, ofMap); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "user", Type: ebpf.SocketFilter, License: "MIT",
		Instructions: asm.Instructions{asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Imm(asm.R0, 0), asm.Return()},
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
	ofProgram, err := syscall.ReadProgramInfo(id)
	if err != nil {
		t.Fatal(err)
	}
	loaded, _ := info.LoadTime()
	wantProgram := syscall.ProgramInfo{ID: id, Type: ebpf.SocketFilter, Name: "user", Tag: ofProgram.Tag, LoadTime: loaded, Maps: []ebpf.MapID{ofMap.ID}}
	if diff := cmp.Diff(&wantProgram, ofProgram); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestInfoOfNothing(t *testing.T) {
	if _, err := syscall.ReadProgramInfo(math.MaxUint32); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("program: %v", err)
	}
	if _, err := syscall.ReadMapInfo(math.MaxUint32); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("map: %v", err)
	}
}
