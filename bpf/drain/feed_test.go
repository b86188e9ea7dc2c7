package drain

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
)

const (
	busyBit    = 1 << 31
	discardBit = 1 << 30
)

// feeder is a producer for a user ring that can also write invalid headers and positions. It does
// not use package userprod.
type feeder struct {
	tb       testing.TB
	consumer []byte // page 0
	producer []byte // page 1 and the data, twice
	data     []byte
	size     uint64
	pos      uint64 // position of the next header
}

// newFeeder maps a user ring until the test ends.
func newFeeder(tb testing.TB, m *ebpf.Map) *feeder {
	tb.Helper()
	page := os.Getpagesize()
	f := &feeder{tb: tb, size: uint64(m.MaxEntries())}
	f.consumer = mapPages(tb, m.FD(), 0, page, unix.PROT_READ)
	f.producer = mapPages(tb, m.FD(), int64(page), page+2*int(f.size), unix.PROT_READ|unix.PROT_WRITE)
	f.data = f.producer[page:]
	f.pos = f.producerPos()
	return f
}

func mapPages(tb testing.TB, fd int, offset int64, length, prot int) []byte {
	tb.Helper()
	addr, err := syscall.Mmap(fd, offset, uintptr(length), prot)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { syscall.Munmap(addr, uintptr(length)) })
	return unsafe.Slice((*byte)(addr), length)
}

func word(b []byte) *uint64 { return (*uint64)(unsafe.Pointer(unsafe.SliceData(b))) }

func (f *feeder) consumerPos() uint64 { return atomic.LoadUint64(word(f.consumer)) }
func (f *feeder) producerPos() uint64 { return atomic.LoadUint64(word(f.producer)) }
func (f *feeder) publish(pos uint64)  { atomic.StoreUint64(word(f.producer), pos) }

// header writes v as the length word of the header at pos.
func (f *feeder) header(pos uint64, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&f.data[pos&(f.size-1)])), v)
}

func span(n int) uint64 { return (uint64(n) + headerSize + 7) &^ 7 }

// put writes a sample without publishing it, and reports whether the ring had room.
func (f *feeder) put(payload []byte, flags uint32) bool {
	if f.pos+span(len(payload))-f.consumerPos() > f.size {
		return false
	}
	copy(f.data[f.pos&(f.size-1)+headerSize:], payload)
	f.header(f.pos, uint32(len(payload))|flags)
	f.pos += span(len(payload))
	return true
}

// feed writes and publishes samples. It fails the test if the ring has no room.
func (f *feeder) feed(payloads ...[]byte) {
	f.tb.Helper()
	for _, p := range payloads {
		if !f.put(p, 0) {
			f.tb.Fatalf("no room for a sample of %d bytes", len(p))
		}
	}
	f.publish(f.pos)
}

// feedN writes and publishes n samples of size bytes with flags in their headers.
func (f *feeder) feedN(n, size int, flags uint32) {
	f.tb.Helper()
	payload := make([]byte, size)
	for i := range n {
		if size >= 8 {
			binary.LittleEndian.PutUint64(payload, uint64(i))
		}
		if !f.put(payload, flags) {
			f.tb.Fatalf("no room for sample %d of %d bytes", i, size)
		}
	}
	f.publish(f.pos)
}
