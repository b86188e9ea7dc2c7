package stream

import (
	"context"
	"sync"
)

// Recent is a Sink that keeps copies of the last records, for a screen that can only show a few of them.
// Its methods may be called concurrently.
type Recent struct {
	maxData int

	mu    sync.Mutex
	kept  []Record // a circular buffer
	next  int      // index in kept for the next record
	fresh int      // number of records since the last call of Take, at most len(kept)
	seen  uint64
}

// NewRecent returns a Recent that keeps at most n records, and at most maxData bytes of each.
func NewRecent(n, maxData int) *Recent {
	return &Recent{maxData: maxData, kept: make([]Record, n)}
}

// Append implements [Sink].
func (r *Recent) Append(_ context.Context, rec *Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot := &r.kept[r.next]
	data := append(slot.Data[:0], rec.Data[:min(len(rec.Data), r.maxData)]...)
	*slot = *rec
	slot.Data = data
	r.next = (r.next + 1) % len(r.kept)
	r.fresh = min(r.fresh+1, len(r.kept))
	r.seen++
	return nil
}

// Flush implements [Sink].
func (r *Recent) Flush() error { return nil }

// Take calls each for every kept record that no earlier call has passed to it. It returns how many
// records the Sink has received in total. A record is valid until each returns.
func (r *Recent) Take(each func(*Record)) (taken uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.kept)
	for i := r.fresh; i > 0; i-- {
		each(&r.kept[(r.next-i+n)%n])
	}
	r.fresh = 0
	return r.seen
}
