package ring

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// Data is where the records of a ring lie: the data pages of a mapping, or a
// private copy of a part of them. Positions count from the ring's creation and
// only grow; a position's place in memory is given by its low bits.
type Data struct {
	base   unsafe.Pointer
	origin Pos // the position that lies at base
	mask   uint64
}

// Copy returns Data over buf, in which the byte of position origin comes first. buf
// must begin at an 8-byte boundary and have CopySlack bytes of capacity behind
// the records in it.
func Copy(buf []byte, origin Pos) Data {
	return Data{base: unsafe.Pointer(unsafe.SliceData(buf)), origin: origin, mask: ^uint64(0)}
}

// at returns the address of pos.
//
// SAFETY: for a mapping the offset is below the ring's size; for a copy the
// caller stays within it.
func (d Data) at(pos Pos) unsafe.Pointer {
	return unsafe.Add(d.base, uint64(pos-d.origin)&d.mask)
}

// Header loads the header of the record at pos, which must be a multiple of 8
// below producer_pos. Its partner is the xchg in bpf_ringbuf_commit: when the
// BUSY bit is seen clear, the payload is complete.
func (d Data) Header(pos Pos) Header {
	return Header(atomic.LoadUint32((*uint32)(d.at(pos))))
}

// Payload returns the n bytes of payload of the record at pos, without copying
// them. The caller has checked that HeaderSize+n is at most the ring's size.
//
// SAFETY: the offset of pos is below the size and the data is mapped twice, so
// that a record no longer than the ring ends inside the mapping.
func (d Data) Payload(pos Pos, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(d.at(pos), HeaderSize)), n)
}

// TouchAhead is how far in front of the walk Touch loads, in bytes: far enough
// to cover a cache miss, and less than the smallest ring. Of 384, 512, 768 and
// 1024 bytes, 512 measured best for records of random lengths.
const TouchAhead = 512

// CopySlack is how far behind the end of a copy a walk may look.
const CopySlack = TouchAhead + HeaderSize

// Read copies len(buf) bytes from position from on into buf: whole words, no more
// than the ring's size, both ends at an 8-byte boundary. Each word is loaded
// after those before it. So the payload of a record whose header is copied
// with the BUSY bit clear is complete in the copy, and a position loaded after Read
// is newer than all that was copied. A plain copy promises neither: it may
// load the end of buf first.
func (d Data) Read(buf []byte, from Pos) {
	// SAFETY: as for Payload.
	words := unsafe.Slice((*uint64)(d.at(from)), len(buf)/8)
	for i := range words {
		binary.NativeEndian.PutUint64(buf[8*i:], atomic.LoadUint64(&words[i]))
	}
}

// Window is the data from one position on, as contiguous memory: a walk over it
// needs neither mask nor origin. Its methods are small enough to be inlined
// into the walk.
type Window struct{ base unsafe.Pointer }

// Window returns the data from pos on. It reaches a ring's size further, because
// the data is mapped twice; in a copy, to its end.
func (d Data) Window(pos Pos) Window { return Window{d.at(pos)} }

// Header is as Data.Header, off bytes into the window.
func (w Window) Header(off uint64) Header {
	return Header(atomic.LoadUint32((*uint32)(unsafe.Add(w.base, off))))
}

// Payload is as Data.Payload, off bytes into the window.
func (w Window) Payload(off uint64, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(w.base, off+HeaderSize)), n)
}

// Touch brings the cache line some way behind off closer, so that a walk whose
// next address depends on the length just loaded does not wait for memory at
// every record. The result of the load does not matter; an atomic one is not
// optimised away.
//
// SAFETY: the address is less than a ring's size behind off's, so it lies in
// the doubled mapping; a copy has that much to spare.
func (w Window) Touch(off uint64) {
	atomic.LoadUint32((*uint32)(unsafe.Add(w.base, off+TouchAhead)))
}
