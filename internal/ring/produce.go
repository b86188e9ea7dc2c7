package ring

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/syscall"
)

// MaxSample is DYNPTR_MAX_SIZE (include/linux/bpf.h): bpf_user_ringbuf_drain
// answers a longer sample of a USER_RINGBUF with -E2BIG, even a discarded one.
const MaxSample = 1<<24 - 1

// Produce maps the USER_RINGBUF of size bytes that fd refers to for its producer:
// page 0 read-only, the rest writable (kernel/bpf/ringbuf.c, ringbuf_map_mmap_user).
func Produce(fd int, size uint64) (*Mapping, error) {
	page := uintptr(os.Getpagesize())
	if err := check(size); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, fmt.Errorf("%w: big-endian", ErrNotSupported)
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

// Retire takes the ring away from under those who use the Mapping and leaves
// zeroed memory of this process in its place, in one step: what they do from
// then on faults nowhere and reaches nobody. So a user needs neither Acquire
// nor Release, which cost two locked instructions for each sample. The
// addresses are given back when the Mapping is garbage. Nobody may call Unmap.
func (m *Mapping) Retire() error {
	for _, r := range m.regions {
		if err := syscall.Replace(r.addr, r.length); err != nil {
			return fmt.Errorf("take the ring's memory away: %w", err)
		}
	}
	return nil
}

// SetProducerPos stores producer_pos of a USER_RINGBUF, after all stores before
// it. Its partner is the smp_load_acquire in __bpf_user_ringbuf_peek: without it
// the kernel could see the position before the headers and payloads below it.
func (p Positions) SetProducerPos(pos Pos) {
	order.StoreRelease((*uint64)(p.producer), uint64(pos))
}

// MoveProducerPos is SetProducerPos where producer_pos is still old.
func (p Positions) MoveProducerPos(old, pos Pos) bool {
	return atomic.CompareAndSwapUint64((*uint64)(p.producer), uint64(old), uint64(pos))
}

// ProducerClaim is the word in the producer page that names the producer of a
// USER_RINGBUF, 0 when nobody does. It is a convention of processes; of that page the
// kernel reads producer_pos only.
func (p Positions) ProducerClaim() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(p.producer, claimOffset))
}

// Tagged is the header of a sample with the word behind it, which the kernel
// does not look at: there the producer's own tag lies.
type Tagged uint64

// Tag joins a header and a tag.
func Tag(h Header, tag uint32) Tagged { return Tagged(tag)<<32 | Tagged(h) }

// Header is what the kernel reads.
func (t Tagged) Header() Header { return Header(t) }

// Tag is what it does not.
func (t Tagged) Tag() uint32 { return uint32(t >> 32) }

// Place is where the header at pos lies with its tag.
func (d Data) Place(pos Pos) *Tagged { return (*Tagged)(d.at(pos)) }

// Tagged loads the header at pos with its tag.
func (d Data) Tagged(pos Pos) Tagged {
	return Tagged(atomic.LoadUint64((*uint64)(d.Place(pos))))
}

// SetTagged stores the header at pos, where producer_pos has not passed yet:
// whoever moves it makes the header visible before.
func (d Data) SetTagged(pos Pos, t Tagged) { *d.Place(pos) = t }

// MoveTagged stores the header at pos where it is still old, as a full barrier.
// Its partner is the smp_load_acquire of the header in __bpf_user_ringbuf_peek:
// without it the kernel could see the BUSY bit clear before the payload.
func (d Data) MoveTagged(pos Pos, old, t Tagged) bool {
	return atomic.CompareAndSwapUint64((*uint64)(d.Place(pos)), uint64(old), uint64(t))
}

// SetHeader stores the header of a sample, off bytes into the window, where
// producer_pos has not passed yet: see Data.SetTagged.
func (w Window) SetHeader(off uint64, h Header) {
	*(*Tagged)(unsafe.Add(w.base, off)) = Tagged(h)
}

// Room returns the n bytes of payload of a sample, off bytes into the window. It
// panics when n is larger than MaxSample.
//
// SAFETY: as for Data.Payload. The array is only the type that n is checked
// against: where n is a constant, that costs nothing.
func (w Window) Room(off uint64, n uint32) []byte {
	return (*[MaxSample]byte)(unsafe.Add(w.base, off+HeaderSize))[:n:n]
}

// Fill writes each value as a sample, header and payload, from the window's
// beginning on. T must not hold pointers. The caller has checked that all of
// them fit into the ring's size.
//
// SAFETY: the window reaches a ring's size further. Samples begin at multiples of
// 8, which suits every T, and the garbage collector has nothing to see in one without
// pointers.
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

// pair is a value of 16 bytes, by halves: as a whole it cannot be loaded before its
// fields, which were just stored one by one, have reached the cache.
type pair [2]uint64

// fillPairs is Fill for pairs. Four at a time, the time of the loop does not depend on
// where the linker puts it.
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
