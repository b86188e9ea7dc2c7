package ring

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/syscall"
)

// MaxSample is DYNPTR_MAX_SIZE (include/linux/bpf.h), in bytes: bpf_user_ringbuf_drain fails with
// -E2BIG at a longer sample, even if the sample is discarded.
const MaxSample = 1<<24 - 1

// Produce maps a USER_RINGBUF of size bytes for its producer: page 0 read-only, the rest writable
// (kernel/bpf/ringbuf.c, ringbuf_map_mmap_user).
func Produce(fd int, size uint64) (*Mapping, error) {
	page := uintptr(os.Getpagesize())
	if err := check(size); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, fmt.Errorf("%w: produce into a USER_RINGBUF on a big-endian machine", ebpf.ErrNotSupported)
	}
	cons, err := mmap(fd, 0, page, unix.PROT_READ)
	if err != nil {
		return nil, fmt.Errorf("map consumer page: %w", err)
	}
	rest, err := mmap(fd, int64(page), page+2*uintptr(size), unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		cons.unmap()
		return nil, fmt.Errorf("map producer and data pages: %w", err)
	}
	return newMapping(cons.addr, rest.addr, size, cons, rest), nil
}

// Retire atomically replaces the memory of the ring by zeroed private memory. Later accesses
// through the Mapping neither fault nor change the ring. So users of a Mapping that is retired need
// no Acquire and Release, which cost two locked instructions per sample. The garbage collector
// unmaps the address range with the Mapping; do not call Unmap.
func (m *Mapping) Retire() error {
	for _, r := range m.regions {
		if err := syscall.Replace(r.addr, r.length); err != nil {
			return fmt.Errorf("replace the ring's memory: %w", err)
		}
	}
	return nil
}

// SetProducerPos stores producer_pos of a USER_RINGBUF, with release semantics. Partner: the
// smp_load_acquire in __bpf_user_ringbuf_peek. Without it the kernel could see the position before
// the headers and payloads below it (litmus sample-batch).
func (p Positions) SetProducerPos(pos Pos) {
	order.StoreRelease((*uint64)(p.producer), uint64(pos))
}

// MoveProducerPos is SetProducerPos, but stores only if producer_pos is still old.
func (p Positions) MoveProducerPos(old, pos Pos) bool {
	return atomic.CompareAndSwapUint64((*uint64)(p.producer), uint64(old), uint64(pos))
}

// ProducerClaim returns the word in the producer page that names the producer of a USER_RINGBUF, 0
// if unclaimed. The kernel reads only producer_pos in that page. See package claim.
func (p Positions) ProducerClaim() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(p.producer, claimOffset))
}

// Tagged is a header together with the 4 bytes after it. In a USER_RINGBUF the kernel ignores those
// bytes, and the producer stores its own tag there. In a RINGBUF they contain pg_off, the page
// number of the header.
type Tagged uint64

// Tag joins a header and a tag.
func Tag(h Header, tag uint32) Tagged { return Tagged(tag)<<32 | Tagged(h) }

// Header returns the header.
func (t Tagged) Header() Header { return Header(t) }

// Tag returns the tag.
func (t Tagged) Tag() uint32 { return uint32(t >> 32) }

// Place returns the address of the header at pos and its tag.
func (d Data) Place(pos Pos) *Tagged { return (*Tagged)(d.at(pos)) }

// Tagged loads the header at pos with its tag.
func (d Data) Tagged(pos Pos) Tagged {
	return Tagged(atomic.LoadUint64((*uint64)(d.Place(pos))))
}

// SetTagged stores the header at pos, which must not be below producer_pos. The store that moves
// producer_pos beyond pos publishes the header.
func (d Data) SetTagged(pos Pos, t Tagged) { *d.Place(pos) = t }

// MoveTagged sets the header at pos to t if it is still old, with a full barrier. Partner: the
// smp_load_acquire of the header in __bpf_user_ringbuf_peek. Without it the kernel could see the
// BUSY bit clear before it sees the payload (litmus sample-commit).
func (d Data) MoveTagged(pos Pos, old, t Tagged) bool {
	return atomic.CompareAndSwapUint64((*uint64)(d.Place(pos)), uint64(old), uint64(t))
}

// SetHeader stores the header of a sample at offset off in the window, with tag 0. The position
// must not be below producer_pos: see [Data.SetTagged].
func (w Window) SetHeader(off uint64, h Header) {
	*(*Tagged)(unsafe.Add(w.base, off)) = Tagged(h)
}

// Room returns the n bytes of payload of a sample at offset off in the window. It panics if n
// exceeds MaxSample.
//
// SAFETY: as for [Data.Payload]. The array type only checks n, at no cost if n is constant.
func (w Window) Room(off uint64, n uint32) []byte {
	return (*[MaxSample]byte)(unsafe.Add(w.base, off+HeaderSize))[:n:n]
}

// Fill writes each value as a sample, header and payload, from the beginning of the window on. T
// must not contain pointers. The caller must check that all samples fit into the ring.
//
// SAFETY: the window is as long as the ring. Samples begin at multiples of 8, so every T is
// aligned, and the garbage collector need not see a T without pointers.
func Fill[T any](w Window, values []T) {
	n := uint32(unsafe.Sizeof(*new(T)))
	if n == 16 {
		fillPairs(w.base, unsafe.Slice((*pair)(unsafe.Pointer(unsafe.SliceData(values))), len(values)))
		return
	}
	at, span := w.base, Span(n)
	for i := range values {
		*(*Tagged)(at) = Tagged(n)
		*(*T)(unsafe.Add(at, HeaderSize)) = values[i]
		at = unsafe.Add(at, span)
	}
}

// pair is a value of 16 bytes in two halves. A single load of 16 bytes would wait until the stores
// that just wrote the fields of the value one by one have reached the cache.
type pair [2]uint64

// fillPairs is Fill for pairs. It writes four pairs per iteration, because the speed of a shorter
// loop depends on its alignment.
func fillPairs(at unsafe.Pointer, values []pair) {
	const n, words = 16, 3
	for ; len(values) >= 4; values = values[4:] {
		to, from := (*[4 * words]uint64)(at), (*[4]pair)(values)
		to[0], to[1], to[2] = n, from[0][0], from[0][1]
		to[3], to[4], to[5] = n, from[1][0], from[1][1]
		to[6], to[7], to[8] = n, from[2][0], from[2][1]
		to[9], to[10], to[11] = n, from[3][0], from[3][1]
		at = unsafe.Add(at, len(to)*8)
	}
	for i := range values {
		to, from := (*[words]uint64)(at), &values[i]
		to[0], to[1], to[2] = n, from[0], from[1]
		at = unsafe.Add(at, len(to)*8)
	}
}
