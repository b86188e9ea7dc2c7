package mapiter

import (
	"os"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// The kernel counts a writable mapping from mmap(2) to munmap(2).
func TestWritableMappingsAreCounted(t *testing.T) {
	testenv.NoLeaks(t)
	s, m := newTestScanner(t), testenv.Ring(t, 4096)
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
