package ring

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// Data is memory that holds the records of a ring: the data pages of a mapping, or a private copy
// of a part of them. A position, less origin and masked, is an offset in that memory.
type Data struct {
	base   unsafe.Pointer
	origin Pos // the position that lies at base
	// mask clears the lowest three bits too: a corrupt position need not be a multiple of 8, and
	// atomic access to such an address faults on arm64.
	mask uint64
}

// Copy returns Data for buf, which contains the bytes from position origin on. buf must begin at an
// 8-byte boundary and have CopySlack bytes of capacity beyond its length.
func Copy(buf []byte, origin Pos) Data {
	return Data{base: unsafe.Pointer(unsafe.SliceData(buf)), origin: origin, mask: ^uint64(7)}
}

// at returns the address of pos.
//
// SAFETY: in a mapping the mask keeps the offset below the size of the ring; in a copy the caller
// passes only positions within the copy.
func (d Data) at(pos Pos) unsafe.Pointer {
	return unsafe.Add(d.base, uint64(pos-d.origin)&d.mask)
}

// Header loads the header of the record at pos, which must be a multiple of 8 below producer_pos.
// Partner: the xchg in bpf_ringbuf_commit. If the BUSY bit is clear, the payload is complete
// (litmus reserve-commit-consume).
func (d Data) Header(pos Pos) Header {
	return Header(atomic.LoadUint32((*uint32)(d.at(pos))))
}

// Payload returns the n bytes of payload of the record at pos, without copying them. The caller has
// checked that HeaderSize+n is at most the ring's size.
//
// SAFETY: the offset of pos is below the ring's size, and the data is mapped twice, so a record no
// longer than the ring ends inside the mapping.
func (d Data) Payload(pos Pos, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(d.at(pos), HeaderSize)), n)
}

// TouchAhead is how far ahead of the walk, in bytes, Touch loads: enough to hide a cache miss, and
// less than the size of the smallest ring. Of 384, 512, 768 and 1024 bytes, 512 was the fastest for
// records of random lengths.
const TouchAhead = 512

// CopySlack is the number of bytes that a walk may load beyond the end of a copy.
const CopySlack = TouchAhead + HeaderSize

// Read fills buf with the bytes from position from on. len(buf) must be a multiple of 8 and at most
// the size of the ring, and from must be aligned. Read loads the words in order. So a record whose
// header is copied with the BUSY bit clear is complete in the copy, and a position loaded after
// Read is newer than everything copied. The builtin copy guarantees neither, because it may load
// the end first.
func (d Data) Read(buf []byte, from Pos) {
	// SAFETY: as for Payload.
	words := unsafe.Slice((*uint64)(d.at(from)), len(buf)/8)
	for i := range words {
		binary.NativeEndian.PutUint64(buf[8*i:], atomic.LoadUint64(&words[i]))
	}
}

// Window is the data from one position on, as contiguous memory: a walk over it needs neither mask
// nor origin. Its methods are small enough to be inlined into the walk.
type Window struct{ base unsafe.Pointer }

// Window returns the data from pos on. In a mapping it is as long as the ring, because the data is
// mapped twice; in a copy it is the rest of the copy.
func (d Data) Window(pos Pos) Window { return Window{d.at(pos)} }

// Header is [Data.Header] at offset off in the window.
func (w Window) Header(off uint64) Header {
	return Header(atomic.LoadUint32((*uint32)(unsafe.Add(w.base, off))))
}

// Payload is [Data.Payload] at offset off in the window.
func (w Window) Payload(off uint64, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(w.base, off+HeaderSize)), n)
}

// Touch prefetches the cache line TouchAhead bytes after off. In a walk, the address of the next
// header depends on the length just loaded; without Touch the walk waits for memory at every
// record. The load is atomic because the compiler removes a plain load whose result is unused.
//
// SAFETY: the address is less than the size of the ring after off, so it is in the doubled mapping;
// a copy has CopySlack bytes of capacity after its end.
func (w Window) Touch(off uint64) {
	atomic.LoadUint32((*uint32)(unsafe.Add(w.base, off+TouchAhead)))
}
