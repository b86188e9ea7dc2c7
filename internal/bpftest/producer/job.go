package producer

import (
	"errors"
	"fmt"
)

// Op names the helper functions with which a program produces a record.
type Op int

const (
	// Reserve is bpf_ringbuf_reserve, then bpf_ringbuf_submit or bpf_ringbuf_discard. The verifier
	// demands a constant size, so all records of a Job with Reserve have the same size: MaxSize
	// must be 0.
	Reserve Op = iota
	// Output is bpf_ringbuf_output, which copies a record. It cannot discard.
	Output
	// Dynptr is bpf_ringbuf_reserve_dynptr, bpf_dynptr_write, then
	// bpf_ringbuf_submit_dynptr or bpf_ringbuf_discard_dynptr: Linux 5.19.
	Dynptr
)

func (op Op) String() string {
	switch op {
	case Reserve:
		return "reserve"
	case Output:
		return "output"
	case Dynptr:
		return "dynptr"
	}
	return fmt.Sprintf("op %d", int(op))
}

// Wakeup has the flags of a commit, which say whether it wakes a sleeping consumer
// (kernel/bpf/ringbuf.c, bpf_ringbuf_commit).
type Wakeup uint64

const (
	// Adaptive wakes the consumer if it has consumed all records before this one: flags 0.
	Adaptive Wakeup = 0
	// NoWakeup never wakes the consumer: BPF_RB_NO_WAKEUP.
	NoWakeup Wakeup = 1 << 0
	// ForceWakeup always wakes the consumer: BPF_RB_FORCE_WAKEUP.
	ForceWakeup Wakeup = 1 << 1
)

// MaxRecord is the largest Size and MaxSize, in bytes.
const MaxRecord = 64 << 10

// Job describes records to produce. A record is determined by the job and its sequence number seq:
// its length is Len(seq), Fill returns its bytes, and Discarded(seq) tells whether it is discarded.
type Job struct {
	Op Op
	// Fast leaves all but the first 8 bytes of a record unspecified, so that a benchmark measures
	// the kernel and not the filling. Verify fails for such records.
	Fast bool

	Count uint64 // number of sequence numbers to produce
	Seq   uint64 // first sequence number

	// Size is the length of a record in bytes, at most MaxRecord. If MaxSize is above Size, lengths
	// are pseudo-random from Size to MaxSize, both included.
	Size, MaxSize uint32

	// DiscardEvery n > 0 discards each record whose seq + 1 is a multiple of n.
	DiscardEvery uint64

	// Wakeup applies to all records, discarded ones too.
	Wakeup Wakeup
	// LastWakeup, unless it is Adaptive, replaces Wakeup for the last record, such as ForceWakeup
	// after records with NoWakeup. Without RetryFull, the last record may find the ring full; then
	// nothing wakes the consumer.
	LastWakeup Wakeup
	// WakeBytes > 0 replaces Wakeup: a record is committed with ForceWakeup if the ring then has at
	// least this many unconsumed bytes (BPF_RB_AVAIL_DATA), and with NoWakeup otherwise. The bytes
	// of the record itself count, except if Op is Output.
	WakeBytes uint64

	// RetryFull makes the job retry a record while the ring is full. Otherwise the record counts as
	// failed and its sequence number is skipped.
	RetryFull bool
}

// Len returns the length of record seq in bytes.
func (j Job) Len(seq uint64) uint32 {
	if j.MaxSize <= j.Size {
		return j.Size
	}
	span := uint64(j.MaxSize-j.Size) + 1
	return j.Size + uint32((mix(seq)>>32)*span>>32)
}

// Discarded reports whether record seq is discarded.
func (j Job) Discarded(seq uint64) bool {
	return j.DiscardEvery > 0 && (seq+1)%j.DiscardEvery == 0
}

// mix is splitmix64, the same function as mix of producer.bpf.c.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// check returns an error if the job is invalid for a ring of ringSize bytes.
func (j Job) check(ringSize uint32) error {
	largest := max(j.Size, j.MaxSize)
	switch {
	case j.Op < Reserve || j.Op > Dynptr:
		return errors.New("unknown op")
	case largest > MaxRecord:
		return fmt.Errorf("record size of %d bytes exceeds %d", largest, MaxRecord)
	case j.Op == Reserve && j.MaxSize > j.Size:
		return errors.New("op Reserve cannot produce random lengths: the verifier demands a constant size (use Output or Dynptr)")
	case j.Op == Output && j.DiscardEvery > 0:
		return errors.New("op Output cannot discard records: bpf_ringbuf_output always submits (use Reserve or Dynptr)")
	case (j.Wakeup|j.LastWakeup)&^(NoWakeup|ForceWakeup) != 0:
		return errors.New("unknown wakeup flag")
	case j.RetryFull && uint64(largest)+headerSize > uint64(ringSize)-8:
		return fmt.Errorf("record of %d bytes never fits into a ring of %d bytes", largest, ringSize)
	}
	return nil
}

// headerSize is BPF_RINGBUF_HDR_SZ. A ring holds at most its size - 8 bytes of records and headers
// (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve).
const headerSize = 8
