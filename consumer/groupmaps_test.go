package consumer_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// outer creates a map of rings of 4 KiB.
func outer(tb testing.TB, typ ebpf.MapType, entries uint32) *ebpf.Map {
	tb.Helper()
	return testenv.Map(tb, &ebpf.MapSpec{
		Type: typ, KeySize: 4, ValueSize: 4, MaxEntries: entries,
		InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize},
	})
}

// A Group from a map of rings has one member for each ring, even if the ring is under several keys.
func TestGroupFromMap(t *testing.T) {
	tests := []struct {
		rule  string
		typ   ebpf.MapType
		slots map[uint32]int // maps a key to the index of its ring
		rings int
	}{
		{"an array that is full: a ring for each CPU", ebpf.ArrayOfMaps, map[uint32]int{0: 0, 1: 1, 2: 2, 3: 3}, 4},
		{"an array with empty slots", ebpf.ArrayOfMaps, map[uint32]int{1: 0, 3: 1}, 2},
		{"an array that begins with an empty slot and repeats a ring", ebpf.ArrayOfMaps, map[uint32]int{1: 0, 2: 1, 3: 0}, 2},
		{"an empty array", ebpf.ArrayOfMaps, nil, 0},
		{"a hash: rings sharded by a key", ebpf.HashOfMaps, map[uint32]int{7: 0, 1 << 31: 1, 42: 2}, 3},
		{"a hash with one ring under three keys", ebpf.HashOfMaps, map[uint32]int{1: 0, 2: 0, 3: 0, 9: 1}, 2},
		{"an empty hash", ebpf.HashOfMaps, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			out := outer(t, tt.typ, 4)
			maps := rings(t, tt.rings)
			for key, i := range tt.slots {
				if err := out.Put(key, maps[i]); err != nil {
					t.Fatal(err)
				}
			}
			g, err := consumer.NewGroupFromMap(out, consumer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if g.Len() != tt.rings {
				t.Fatalf("%d rings, want %d", g.Len(), tt.rings)
			}
			// Ring n gets n + 1 records, to tell the rings apart.
			for n, m := range maps {
				run(t, load(t, m), producer.Job{Op: producer.Output, Size: 16, Count: uint64(n) + 1})
			}
			records := make([]int, g.Len())
			for rec := range g.Pass(0) {
				records[rec.Ring]++
			}
			if g.Err() != nil {
				t.Fatal(g.Err())
			}
			got := map[uint32]int{}
			for i, n := range records {
				for _, key := range g.Keys(i) {
					got[binary.NativeEndian.Uint32(key)] = n - 1
				}
			}
			if tt.slots == nil {
				tt.slots = map[uint32]int{}
			}
			if diff := cmp.Diff(tt.slots, got); diff != "" {
				t.Errorf("rings under keys (-want +got):\n%s", diff)
			}
		})
	}
}

// A ring that is replaced between the lookup of its id and its opening does not make
// NewGroupFromMap fail.
func TestGroupFromMapWhoseRingsAreReplaced(t *testing.T) {
	testenv.NoLeaks(t)
	const groups = 50
	for _, typ := range []ebpf.MapType{ebpf.ArrayOfMaps, ebpf.HashOfMaps} {
		t.Run(typ.String(), func(t *testing.T) {
			out := outer(t, typ, 4)
			replace := func() error {
				for key := range uint32(4) {
					m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
					if err != nil {
						return err
					}
					err = out.Put(key, m)
					m.Close() // the outer map has the only reference
					if err != nil {
						return err
					}
				}
				return nil
			}
			if err := replace(); err != nil {
				t.Fatal(err)
			}
			stop, replaced := make(chan struct{}), make(chan error, 1)
			go func() {
				for {
					select {
					case <-stop:
						replaced <- nil
						return
					default:
					}
					if err := replace(); err != nil {
						replaced <- err
						return
					}
				}
			}()
			for range groups {
				g, err := consumer.NewGroupFromMap(out, consumer.Options{})
				if err != nil {
					t.Error(err)
					break
				}
				// The kernel's iteration over a hash may miss an entry that is being replaced.
				if n := g.Len(); n > 4 || n < 4 && typ == ebpf.ArrayOfMaps {
					t.Errorf("%d rings, want 4", n)
				}
				g.Close()
			}
			close(stop)
			if err := <-replaced; err != nil {
				t.Error(err)
			}
		})
	}
}

// A Group from a map of maps can wait and read as any other Group.
func TestGroupFromMapWaits(t *testing.T) {
	testenv.NoLeaks(t)
	out := outer(t, ebpf.ArrayOfMaps, 2)
	maps := rings(t, 2)
	var pings []*producer.Pinger
	for i, m := range maps {
		if err := out.Put(uint32(i), m); err != nil {
			t.Fatal(err)
		}
		pings = append(pings, pinger(t, load(t, m), ten))
	}
	g, err := consumer.NewGroupFromMap(out, consumer.Options{Timer: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// The Group does not need the maps.
	out.Close()
	for _, m := range maps {
		m.Close()
	}
	for _, i := range []int{0, 1, 1, 0} {
		pinged := pingAsleep(t, pings[i])
		if ring, _, err := groupRead(t, t.Context(), g); ring != i || err != nil {
			t.Errorf("a record of ring %d, want %d, %v", ring, i, err)
		}
		<-pinged
	}
}

func TestGroupFromAMapOfOtherMaps(t *testing.T) {
	testenv.NoLeaks(t)
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	out := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 2, InnerMap: inner})
	if err := out.Put(uint32(1), testenv.Map(t, inner)); err != nil {
		t.Fatal(err)
	}
	_, err := consumer.NewGroupFromMap(out, consumer.Options{})
	want := fmt.Sprintf("read group: ring under key %x: map is a Array, not a RingBuf",
		binary.NativeEndian.AppendUint32(nil, 1))
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	out.Close()
	if _, err := consumer.NewGroupFromMap(out, consumer.Options{}); err == nil {
		t.Error("a Group of a closed map")
	}
}
