package ring

// Sizes and flag bits of the ABI, include/uapi/linux/bpf.h.
const (
	// HeaderSize is BPF_RINGBUF_HDR_SZ: the bytes before each record's payload.
	HeaderSize = 8
	// BusyBit is BPF_RINGBUF_BUSY_BIT: the record is reserved and not committed.
	BusyBit = 1 << 31
	// DiscardBit is BPF_RINGBUF_DISCARD_BIT: the consumer skips the record.
	DiscardBit = 1 << 30
)

// Header is the first word of a record's header (struct bpf_ringbuf_hdr, kernel/bpf/ringbuf.c).
type Header uint32

// Kind says which of the two types of map a ring is.
type Kind uint8

const (
	Kernel Kind = iota // RINGBUF: BPF programs produce
	User               // USER_RINGBUF: a process produces
)

// State is the state of a record; it tells the consumer what to do with the record.
type State uint8

const (
	Committed State = iota // read it
	Busy                   // wait for it
	Discarded              // skip it
)

// State returns the state of a record in a ring of kind k. If both flag bits are set, the consumer
// of a RINGBUF waits, but the drain of a USER_RINGBUF skips the record (__bpf_user_ringbuf_peek).
func (h Header) State(k Kind) State {
	switch {
	case h < DiscardBit:
		return Committed
	case h&BusyBit != 0 && (k == Kernel || h&DiscardBit == 0):
		return Busy
	}
	return Discarded
}

// Busy reports whether the BUSY bit is set.
func (h Header) Busy() bool { return h&BusyBit != 0 }

// Discarded reports whether the DISCARD bit is set.
func (h Header) Discarded() bool { return h&DiscardBit != 0 }

// Len is the length of the payload in bytes: the header without the flag bits. It comes from shared
// memory: check it before use.
func (h Header) Len() uint32 { return uint32(h) &^ (BusyBit | DiscardBit) }

// Span is the number of bytes that a record of n payload bytes occupies in the ring: header and
// payload, rounded up to a multiple of 8.
func Span(n uint32) uint64 { return (uint64(n) + HeaderSize + 7) &^ 7 }
