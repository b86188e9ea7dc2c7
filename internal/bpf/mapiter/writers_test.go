package mapiter

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// The kernel counts a writable mapping from mmap(2) to munmap(2).
func TestWritableMappingsAreCounted(t *testing.T) {
	testenv.NoLeaks(t)
	s, m := newTestScanner(t), testenv.Ring(t, testenv.PageSize)
	page := os.Getpagesize()
	check := func(want uint64) {
		t.Helper()
		if diff := gocmp.Diff(&want, find(t, s, m).Writers); diff != "" {
			t.Errorf("writable mappings, -want +got:\n%s", diff)
		}
	}
	mmap := func(offset, length, prot int) (unmap func()) {
		mem, err := unix.Mmap(m.FD(), int64(offset), length, prot, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := unix.Munmap(mem); err != nil {
				t.Error(err)
			}
		}
	}
	check(0)
	data := mmap(0, 2*page+2*int(m.MaxEntries()), unix.PROT_READ)
	check(0)
	first := mmap(0, page, unix.PROT_READ|unix.PROT_WRITE)
	second := mmap(0, page, unix.PROT_READ|unix.PROT_WRITE)
	check(2)
	first()
	check(1)
	second()
	data()
	check(0)
}

// The kernel counts open files, whatever maps their memory, pins, programs and maps of maps.
func TestReferencesAreCounted(t *testing.T) {
	testenv.NoLeaks(t)
	s, m := newTestScanner(t), testenv.Ring(t, testenv.PageSize)
	check := func(what string, want uint64) {
		t.Helper()
		if got := find(t, s, m).References; got == nil || *got != want {
			t.Errorf("%s: %v references, want %d", what, got, want)
		}
	}
	check("a file", 1)
	same, err := m.Clone()
	if err != nil {
		t.Fatal(err)
	}
	check("a file with two descriptors", 1)
	same.Close()
	again, err := ebpf.NewMapFromID(idOf(t, m))
	if err != nil {
		t.Fatal(err)
	}
	check("two files", 2)
	again.Close()
	if err := m.Pin(testenv.PinPath(t, "test_references")); err != nil {
		t.Fatal(err)
	}
	check("a file and a pin", 2)
	if err := m.Unpin(); err != nil {
		t.Fatal(err)
	}
	outer := testenv.Map(t, &ebpf.MapSpec{
		Type: ebpf.HashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize},
	})
	if err := outer.Put(uint32(1), m); err != nil {
		t.Fatal(err)
	}
	check("a file and a map of maps", 2)
}
