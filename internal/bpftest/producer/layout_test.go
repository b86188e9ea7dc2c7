package producer

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The generated Go structs, and constants defined in both C and Go, agree with the BTF of the
// committed object.
func TestMirrorsMatchBTF(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	mirrors := map[string]any{
		"run_state":    bpfRunState{},
		"query_result": bpfQueryResult{},
		"hold_arg":     bpfHoldArg{},
	}
	for name, mirror := range mirrors {
		var c *btf.Struct
		if err := spec.Types.TypeByName(name, &c); err != nil {
			t.Fatal(err)
		}
		typ := reflect.TypeOf(mirror)
		if uintptr(c.Size) != typ.Size() {
			t.Errorf("%s: %d bytes in C, %d in Go", name, c.Size, typ.Size())
		}
		fields := reflect.VisibleFields(typ)[1:] // the first field is structs.HostLayout
		if len(c.Members) != len(fields) {
			t.Fatalf("%s: %d fields in C, %d in Go", name, len(c.Members), len(fields))
		}
		for i, m := range c.Members {
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				t.Fatal(err)
			}
			f := fields[i]
			if !strings.EqualFold(strings.ReplaceAll(m.Name, "_", ""), f.Name) ||
				uintptr(m.Offset.Bytes()) != f.Offset || uintptr(size) != f.Type.Size() {
				t.Errorf("%s: %s at %d, %d bytes in C; %s at %d, %d bytes in Go",
					name, m.Name, m.Offset.Bytes(), size, f.Name, f.Offset, f.Type.Size())
			}
		}
	}
	for name, want := range map[string]uint32{bpfVarPattern: MaxRecord + shifts, bpfVarScratch: MaxRecord} {
		if got := spec.Variables[name].Size(); got != want {
			t.Errorf("%s: %d bytes in C, %d in Go", name, got, want)
		}
	}
}

func TestStateRoundTrip(t *testing.T) {
	s := &state{mem: make([]byte, 100), run: 8}
	want := bpfRunState{Seq: 1, End: 2, Flags: 3, Retry: 4, Submitted: 5, Discarded: 6, Failed: 7, Bytes: 8}
	s.setRun(want)
	if diff := cmp.Diff(want, s.getRun(), cmpopts.IgnoreUnexported(want)); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if s.seq() != want.Seq {
		t.Errorf("seq %d, want %d", s.seq(), want.Seq)
	}
}
