package ring

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is a file laid out as a ring, for what no kernel writes. It is
// mapped writable; Consume and Observe map it as they would map a ring.
type memory struct {
	fd   int
	size uint64
	all  []byte
}

func newMemory(tb testing.TB, size uint64) *memory {
	tb.Helper()
	fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	length := 2*os.Getpagesize() + 2*int(size)
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		tb.Fatal(err)
	}
	all, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(all) })
	return &memory{fd: fd, size: size, all: all}
}

// data returns the data pages: the ring, then, other than in a real one, memory
// of its own.
func (m *memory) data() []byte { return m.all[2*os.Getpagesize():] }

func (m *memory) setProducer(pos uint64) {
	*(*uint64)(unsafe.Pointer(&m.all[os.Getpagesize()])) = pos
}
