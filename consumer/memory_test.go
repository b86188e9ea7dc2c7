package consumer

import (
	"os"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

// memory is a file laid out as a ring, for what no kernel writes and for what this
// machine's does not. It is mapped writable; a Reader maps it as it maps a ring.
//
// Other than in a ring the data pages and their repetition are two memories: put
// writes both.
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
	length := 2*os.Getpagesize() + 2*int(size)
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		tb.Fatal(err)
	}
	all, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	m := &memory{fd: fd, size: size, all: all}
	tb.Cleanup(func() {
		unix.Munmap(all)
		unix.Close(fd)
	})
	return m
}

// reader returns a Reader of m, closed when the test ends. It cannot sleep:
// files have no readiness.
func (m *memory) reader(tb testing.TB, overwrite bool) *Reader {
	tb.Helper()
	mem, err := ring.Consume(m.fd, m.size)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := newReader(mem, overwrite, Options{Timer: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func (m *memory) word(offset int) *uint64 { return (*uint64)(unsafe.Pointer(&m.all[offset])) }

func (m *memory) consumerPos() *uint64  { return m.word(0) }
func (m *memory) producerPos() *uint64  { return m.word(os.Getpagesize()) }
func (m *memory) overwritePos() *uint64 { return m.word(os.Getpagesize() + 16) }

// data returns the data pages and their repetition.
func (m *memory) data() []byte { return m.all[2*os.Getpagesize():] }

// header returns the header of the record at pos.
func (m *memory) header(pos uint64) ring.Header {
	return ring.Header(*(*uint32)(unsafe.Pointer(&m.data()[pos&(m.size-1)])))
}

// setHeader is a full barrier, as the xchg in bpf_ringbuf_commit is.
func (m *memory) setHeader(pos uint64, h uint32) {
	for _, offset := range []uint64{0, m.size} {
		atomic.SwapUint32((*uint32)(unsafe.Pointer(&m.data()[offset+pos&(m.size-1)])), h)
	}
}

// put writes b at pos.
func (m *memory) put(pos uint64, b []byte) {
	data := m.data()
	for len(b) > 0 {
		offset := pos & (m.size - 1)
		n := copy(data[offset:m.size], b)
		copy(data[m.size+offset:], b[:n])
		b, pos = b[n:], pos+uint64(n)
	}
}

// reserve does what __bpf_ringbuf_reserve (kernel/bpf/ringbuf.c) does in overwrite
// mode, for a single producer without records that stay BUSY. It returns the
// record's position.
func (m *memory) reserve(n uint32) uint64 {
	pos, over := *m.producerPos(), *m.overwritePos()
	end := pos + ring.Span(n)
	for end-over > m.size-1 {
		over += ring.Span(m.header(over).Len())
	}
	atomic.StoreUint64(m.overwritePos(), over)
	m.setHeader(pos, n|ring.BusyBit)
	atomic.StoreUint64(m.producerPos(), end)
	return pos
}
