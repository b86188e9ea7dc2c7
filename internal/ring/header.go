package ring

// Sizes and flag bits of the ABI, include/uapi/linux/bpf.h.
const (
	// HeaderSize is BPF_RINGBUF_HDR_SZ: the bytes in front of each record's payload.
	HeaderSize = 8
	// BusyBit is BPF_RINGBUF_BUSY_BIT: the record is reserved, not yet committed.
	BusyBit = 1 << 31
	// DiscardBit is BPF_RINGBUF_DISCARD_BIT: the record is to be skipped.
	DiscardBit = 1 << 30
	// FlagOverwrite is BPF_F_RB_OVERWRITE, a flag of the map: the kernel writes over the oldest
	// records of a full ring (Linux 6.19).
	FlagOverwrite = 1 << 19
)

// Header is the first word of a record's header (struct bpf_ringbuf_hdr, kernel/bpf/ringbuf.c).
type Header uint32

// Busy reports whether the record is still being written.
func (h Header) Busy() bool { return h&BusyBit != 0 }

// Discarded reports whether the record was given up by its producer.
func (h Header) Discarded() bool { return h&DiscardBit != 0 }

// Len is the payload length in bytes, without the flag bits. It comes from
// shared memory: bound it before use.
func (h Header) Len() uint32 { return uint32(h) &^ (BusyBit | DiscardBit) }

// Span is the number of bytes that a record of n payload bytes occupies in
// the ring: header and payload, rounded up to 8.
func Span(n uint32) uint64 { return (uint64(n) + HeaderSize + 7) &^ 7 }

// Forward is the way from one position to a later one, 0 when it is not later:
// somebody wrote it.
func Forward(from, to uint64) uint64 { return uint64(max(int64(to-from), 0)) }
