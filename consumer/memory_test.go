package consumer

import (
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// memory is a ring in ordinary memory, without a BPF map.
type memory struct{ *testenv.Memory }

func newMemory(tb testing.TB, size uint64) memory {
	tb.Helper()
	return memory{testenv.NewMemory(tb, size)}
}

// reader returns a Reader of m, closed when the test ends. The Reader must not wait, because m
// cannot be polled.
func (m memory) reader(tb testing.TB, overwrite bool) *Reader {
	tb.Helper()
	return m.readerWith(tb, overwrite, Options{Timer: -1})
}

// shared returns a shared Reader of m, closed when the test ends.
func (m memory) shared(tb testing.TB) *Reader {
	tb.Helper()
	return m.readerWith(tb, false, Options{Timer: -1, Shared: true})
}

func (m memory) readerWith(tb testing.TB, overwrite bool, opts Options) *Reader {
	tb.Helper()
	mem, err := ring.Consume(m.FD, m.Size)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := newReader(mem, overwrite, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

// offset returns the offset of pos in the data.
func (m memory) offset(pos uint64) uint64 { return pos & (m.Size - 1) }

// header returns the header of the record at pos.
func (m memory) header(pos uint64) ring.Header { return ring.Header(*m.Word(m.offset(pos))) }

// setHeader stores a header with a full barrier, as the xchg in bpf_ringbuf_commit does.
func (m memory) setHeader(pos uint64, h uint32) {
	for _, repetition := range []uint64{0, m.Size} {
		atomic.SwapUint32((*uint32)(unsafe.Pointer(m.Word(repetition+m.offset(pos)))), h)
	}
}

// put writes b at pos, in the data and in the repetition of the data after it.
func (m memory) put(pos uint64, b []byte) {
	data := m.Data()
	for len(b) > 0 {
		offset := m.offset(pos)
		n := copy(data[offset:m.Size], b)
		copy(data[m.Size+offset:], b[:n])
		b, pos = b[n:], pos+uint64(n)
	}
}

// reserve does what __bpf_ringbuf_reserve (kernel/bpf/ringbuf.c) does in overwrite mode, for one
// producer that leaves no record BUSY. It returns the record's position.
func (m memory) reserve(n uint32) uint64 {
	pos, over := *m.ProducerPos(), *m.OverwritePos()
	end := pos + ring.Span(n)
	for end-over > m.Size-1 {
		over += ring.Span(m.header(over).Len())
	}
	atomic.StoreUint64(m.OverwritePos(), over)
	m.setHeader(pos, n|ring.BusyBit)
	atomic.StoreUint64(m.ProducerPos(), end)
	return pos
}
