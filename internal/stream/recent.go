package stream

import (
	"context"
	"sync"
)

// Recent is a Sink that keeps copies of the last records, for a screen that shows a few dozen of a million. Its
// methods may be called by several goroutines.
type Recent struct {
	maxData int

	mu    sync.Mutex
	kept  []Record // a circle
	next  int      // index of the next record
	fresh int      // records since the last call of Take, at most len(kept)
	seen  uint64
}

// NewRecent keeps at most n records, and of each at most maxData bytes.
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

// Take calls each with the kept records that no call before has had, and returns how many the Sink has taken in
// all. The records are valid until each returns.
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
