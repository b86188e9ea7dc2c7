package syscall_test

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestInnerMaps(t *testing.T) {
	defer func(n int) { *syscall.InnerBatch = n }(*syscall.InnerBatch)
	*syscall.InnerBatch = 4
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	for _, outer := range []*ebpf.MapSpec{
		{Type: ebpf.ArrayOfMaps, KeySize: 4, MaxEntries: 24, InnerMap: inner},
		{Type: ebpf.HashOfMaps, KeySize: 12, MaxEntries: 24, InnerMap: inner},
	} {
		t.Run(outer.Type.String(), func(t *testing.T) {
			m, err := ebpf.NewMap(outer)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := syscall.InnerMaps(m, 100); len(got) != 0 {
				t.Errorf("of an empty map: %v", got)
			}
			var want []ebpf.MapID
			for i := range 5 {
				in, err := ebpf.NewMap(inner)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				info, err := syscall.MapInfoOf(in)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, info.ID)
				key := make([]byte, outer.KeySize)
				key[0] = byte(5 * i) // in several batches
				if err := m.Put(key, in); err != nil {
					t.Fatal(err)
				}
			}
			check := func(how string, read func(*ebpf.Map, int) []ebpf.MapID) {
				got := read(m, 100)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, -want +got:\n%s", how, diff)
				}
				if got := read(m, 2); len(got) != 2 {
					t.Errorf("%s with a limit of 2: %v", how, got)
				}
			}
			check("in the best way", syscall.InnerMaps)
			check("by key", syscall.InnerByKey)
			check("by batch", func(m *ebpf.Map, limit int) []ebpf.MapID {
				got, err := syscall.InnerByBatch(m, limit)
				if err != nil {
					testenv.SkipWithout(t, "map-of-maps-batch", err)
				}
				return got
			})
		})
	}
}
