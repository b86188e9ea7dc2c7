package innermaps

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// outer returns a map of maps with three maps, and their ids in order.
func outer(t *testing.T, kind ebpf.MapType, flags uint32) (m *ebpf.Map, ids []ebpf.MapID) {
	t.Helper()
	spec := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	m = testenv.Map(t, &ebpf.MapSpec{Type: kind, KeySize: 4, MaxEntries: 8, InnerMap: spec, Flags: flags})
	for _, key := range []uint32{1, 2, 7} {
		in := testenv.Map(t, spec)
		if err := m.Put(key, in); err != nil {
			t.Fatal(err)
		}
		info, err := syscall.MapInfoOf(in)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.ID)
	}
	return m, ids
}

func TestAllWaysFindTheSame(t *testing.T) {
	testenv.NoLeaks(t)
	for _, of := range []struct {
		kind  ebpf.MapType
		flags uint32
	}{{ebpf.ArrayOfMaps, 0}, {ebpf.HashOfMaps, 0}, {ebpf.HashOfMaps, unix.BPF_F_NO_PREALLOC}} {
		m, want := outer(t, of.kind, of.flags)
		fast := &Reader{}
		defer fast.Close()
		if fast.memory, fast.err = memory(); fast.err != nil {
			testenv.SkipIfNotSupported(t, "iter-bpf-map", fast.err)
			t.Fatal(fast.err)
		}
		slow := &Reader{err: errors.ErrUnsupported, spent: -time.Hour}
		ways := map[string]func(*ebpf.Map, int) ([]ebpf.MapID, error){
			"as it likes": (&Reader{}).Of, "from the kernel's memory": fast.Of, "by lookups": slow.ofSlow,
		}
		for name, read := range ways {
			found, err := read(m, 8)
			slices.Sort(found)
			if diff := cmp.Diff(want, found); err != nil || diff != "" {
				t.Errorf("%v: %s: %v, -want +got:\n%s", of, name, err, diff)
			}
			if found, err = read(m, 2); err != nil || len(found) != 2 {
				t.Errorf("%v: %s: a limit of 2: %v, %v", of, name, found, err)
			}
		}
	}
}

// Without the kernel's memory, what is found in time is returned.
func TestLookupsThatTakeTooLong(t *testing.T) {
	m, _ := outer(t, ebpf.ArrayOfMaps, 0)
	r := &Reader{err: errors.ErrUnsupported, spent: 2 * budget}
	if found, err := r.Of(m, 8); !errors.Is(err, ErrSlow) || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}
