package infer

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Variables that no program uses are those of the ring's program only if the same process holds both.
func TestMapsOfVariablesOfAnotherObject(t *testing.T) {
	var ids []ebpf.MapID
	create := func(spec ebpf.MapSpec) *ebpf.Map {
		m := testenv.Map(t, &spec)
		info, err := syscall.MapInfoOf(m)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.ID)
		return m
	}
	ring := create(ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	create(ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	usage, err := inspect.Users(ring)
	if err != nil {
		t.Fatal(err)
	}
	if pids, known := usage.Holders(ids[1]); !known {
		testenv.SkipWithout(t, "iter-task-vma", errors.New(usage.Notes[0]))
	} else if len(pids) != 1 {
		t.Fatalf("held by %v", pids)
	}
	const absent = 1 << 30 // no map has this id
	tests := []struct {
		rule string
		maps []ebpf.MapID // of the program; the first one is the ring
		near ebpf.MapID
		err  error
		want bool
	}{
		{"held as the ring", []ebpf.MapID{ids[0]}, ids[1], nil, true},
		{"held as another map", []ebpf.MapID{absent, ids[1]}, ids[0], nil, true},
		{"held, but not the program's maps", []ebpf.MapID{absent, absent + 1}, ids[1], nil, false},
		{"not held, but a map of the program", []ebpf.MapID{absent, ids[1]}, absent + 1, nil, false},
		{"not held, but the ring, perhaps to read it", []ebpf.MapID{ids[0]}, absent, nil, true},
		{"nothing held, all pinned", []ebpf.MapID{absent}, absent + 1, nil, true},
		{"nothing known", []ebpf.MapID{absent}, ids[1], errors.New("no"), true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			h := &host{usage: func() (*inspect.Usage, error) { return usage, tt.err }}
			p := &program{info: &syscall.ProgramInfo{Maps: tt.maps}, maps: map[uint32]recordflow.Map{uint32(tt.maps[0]): {Ring: true}}}
			if got := h.sameOwner(tt.near, p); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
