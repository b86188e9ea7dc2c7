package consumer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Stats is the state of a ring and what its Reader has done. Positions and sizes are in bytes.
type Stats struct {
	// ConsumerPos is the position up to which records are published as consumed.
	ConsumerPos uint64
	// ProducerPos is where the next reservation begins.
	ProducerPos uint64
	// Backlog is the distance from the oldest record to ProducerPos. It includes headers, padding,
	// records not committed, and records read but not published.
	Backlog uint64
	// Unread is the part of Backlog that this Reader has not read.
	Unread uint64

	// Records counts the records consumed since NewReader, Bytes the bytes of their payload.
	Records, Bytes uint64
	// Discarded counts the records that their producers discarded.
	Discarded uint64
	// Lost counts bytes, headers included, that the kernel overwrote before they were read. It is 0
	// unless the ring is in overwrite mode: records that the kernel refuses because the ring is
	// full are not counted anywhere (__bpf_ringbuf_reserve in kernel/bpf/ringbuf.c).
	Lost uint64
	// Late counts the waits that only [Options].Timer ended: a record was ready, but no wakeup had
	// been sent for it.
	Late uint64

	// Mended is the fault that NewReader repaired because of [Options].Mend, an error matching
	// [ErrCorrupt]; or nil. Reading resumed at the position Resumed. Overwritten is the number of
	// bytes, headers included, from the old consumer position to Resumed: they could not be read.
	Mended               error
	Resumed, Overwritten uint64

	// Busy means that the record at the head of the ring is BUSY, so that the records behind it
	// cannot be read. BusyPos is the position of that record, BusyAge the time since the Reader
	// first saw it BUSY.
	Busy    bool
	BusyPos uint64
	BusyAge time.Duration
}

// Stats returns the state of the ring and the counters of this Reader. Counters move at the end of
// each pass and at each publication: [Reader.Read] counts records when it publishes them. Any
// goroutine may call it. After Close the error matches [os.ErrClosed].
func (r *Reader) Stats() (Stats, error) {
	if !r.mem.Acquire() {
		return Stats{}, errClosed
	}
	defer r.release()
	// Both are loaded before producer_pos, so producer_pos is not behind them.
	consumer, next := r.mem.ConsumerPos(), ring.Pos(atomic.LoadUint64((*uint64)(&r.pos)))
	head := r.oldest(consumer)
	next = ring.Later(head, next)
	producer := r.mem.ProducerPos()
	s := Stats{
		ConsumerPos: uint64(consumer),
		ProducerPos: uint64(producer),
		// min, because records may have been produced and overwritten between the loads.
		Backlog:   min(uint64(producer-head), r.mem.Size()),
		Unread:    min(next.To(producer), r.mem.Size()),
		Records:   r.counts.records.Load(),
		Bytes:     r.counts.bytes.Load(),
		Discarded: r.counts.discarded.Load(),
		Lost:      r.counts.lost.Load(),
		Late:      r.counts.late.Load(),

		Mended: r.found.mended, Resumed: uint64(r.found.resumed), Overwritten: r.found.gone,
	}
	// The word at head is a header only if head is still the position of the oldest record.
	if s.Backlog > 0 && head.Aligned() && r.mem.Data().Header(head).Busy() && r.oldest(r.mem.ConsumerPos()) == head {
		s.Busy, s.BusyPos = true, uint64(head)
		s.BusyAge = time.Since(r.busy.seen(head))
	}
	return s, nil
}

// oldest returns the position of the oldest record, given consumer_pos.
func (r *Reader) oldest(consumer ring.Pos) ring.Pos {
	if !r.over {
		return consumer
	}
	return ring.Later(consumer, r.mem.OverwritePos())
}

// busyHead notes since when the record at the head of the ring has been BUSY.
type busyHead struct {
	mu    sync.Mutex
	pos   ring.Pos
	since time.Time
}

// seen notes that the record at pos is BUSY and returns when it was first seen.
func (b *busyHead) seen(pos ring.Pos) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() || b.pos != pos {
		b.pos, b.since = pos, time.Now()
	}
	return b.since
}
