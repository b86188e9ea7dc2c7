package consumer

import (
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Stats is what a Reader knows of its ring and has done. Positions and sizes
// are in bytes.
type Stats struct {
	// ConsumerPos is up to where the kernel was told that records are consumed.
	ConsumerPos uint64
	// ProducerPos is where the next reservation will begin.
	ProducerPos uint64
	// Backlog is the distance of the two: what waits to be read or still to be
	// committed, headers and padding included.
	Backlog uint64
	// Unread is the part of Backlog that this Reader has not read yet. It differs from Backlog
	// by the records that were read and not yet published.
	Unread uint64

	// Records and Bytes count what was consumed, payload only, since NewReader.
	Records, Bytes uint64
	// Discarded counts the records that their producers gave up.
	Discarded uint64
	// Lost counts bytes, headers included, that the kernel overwrote before
	// they were read. Always 0 but in overwrite mode: records that the kernel refused
	// because the ring was full are counted nowhere (__bpf_ringbuf_reserve in
	// kernel/bpf/ringbuf.c).
	Lost uint64
	// Late counts the waits that ended because of the slow timer alone: there was
	// a record, and nobody had woken its consumer.
	Late uint64

	// Busy says that the record at the head of the ring is still being
	// written, so that nothing behind it can be read. BusyPos is its position, BusyAge
	// how long ago the Reader first saw it so.
	Busy    bool
	BusyPos uint64
	BusyAge time.Duration
}

// Stats returns the state of the ring and what was done so far. Its counters
// move at the end of each pass, and at each publication: single records of
// [Reader.Read] are counted when the kernel is told of them. It may be called by any
// goroutine; after Close it returns an error that is [os.ErrClosed].
func (r *Reader) Stats() (Stats, error) {
	if !r.mem.Acquire() {
		return Stats{}, errClosed
	}
	defer r.leave()
	// Loaded before the producer's position, which then does not lie behind them.
	consumer := r.mem.ConsumerPos()
	head := r.oldest(consumer)
	s := Stats{
		ConsumerPos: consumer,
		ProducerPos: r.mem.ProducerPos(),
		Records:     r.counts.records.Load(),
		Bytes:       r.counts.bytes.Load(),
		Discarded:   r.counts.discarded.Load(),
		Lost:        r.counts.lost.Load(),
		Late:        r.counts.late.Load(),
	}
	s.Unread = min(ring.Forward(r.oldest(atomic.LoadUint64(&r.pos)), s.ProducerPos), r.mem.Size())
	// The kernel may have moved on between the loads.
	s.Backlog = min(s.ProducerPos-head, r.mem.Size())
	// What lies at head is a header only as long as head stays the oldest record's.
	if s.Backlog > 0 && head%8 == 0 && r.mem.Data().Header(head).Busy() && r.oldest(r.mem.ConsumerPos()) == head {
		s.Busy, s.BusyPos = true, head
		s.BusyAge = time.Since(r.busy.seen(head))
	}
	return s, nil
}

// oldest is the position of the oldest record, given consumer_pos.
func (r *Reader) oldest(consumer uint64) uint64 {
	if !r.over {
		return consumer
	}
	return later(consumer, r.mem.OverwritePos())
}
