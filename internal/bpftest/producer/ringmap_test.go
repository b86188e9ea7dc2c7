package producer

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ringmap is a ring's memory, for a consumer that throws everything away.
type ringmap struct {
	consumer []byte // page 0, writable
	rest     []byte // page 1: producer_pos; then the data
}

func mapPositions(tb testing.TB, ring *ebpf.Map) *ringmap {
	tb.Helper()
	page := os.Getpagesize()
	mapping := func(offset int64, length, prot int) []byte {
		mem, err := unix.Mmap(ring.FD(), offset, length, prot, unix.MAP_SHARED)
		if err != nil {
			tb.Fatalf("map ring: %v", err)
		}
		tb.Cleanup(func() { unix.Munmap(mem) })
		return mem
	}
	return &ringmap{
		consumer: mapping(0, page, unix.PROT_READ|unix.PROT_WRITE),
		rest:     mapping(int64(page), page+int(ring.MaxEntries()), unix.PROT_READ),
	}
}

// consume gives all space back, unseen. Plain loads and stores are enough: a
// stale producer_pos gives back less, and nothing but space depends on it.
func (r *ringmap) consume() {
	copy(r.consumer[:8], r.rest[:8])
}

// header returns the first word of the record at pos, in the ring's first lap.
func (r *ringmap) header(pos int) uint32 {
	return binary.NativeEndian.Uint32(r.rest[os.Getpagesize()+pos:])
}
