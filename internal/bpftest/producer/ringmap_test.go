package producer

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ringmap is the mapped memory of a ring, for a consumer that reads no records.
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

// consume frees the space of all records without reading them. Plain loads and stores suffice: with
// a stale producer_pos it only frees less space.
func (r *ringmap) consume() {
	copy(r.consumer[:8], r.rest[:8])
}

// header returns the first word of the record at position pos, which must be below the size of the
// ring.
func (r *ringmap) header(pos int) uint32 {
	return binary.NativeEndian.Uint32(r.rest[os.Getpagesize()+pos:])
}
