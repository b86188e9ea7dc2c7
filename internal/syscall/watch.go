package syscall

import (
	"context"
	"sync"
	"time"
)

// watch makes the end of a context end the sleeps of a Poller, by a deadline that has
// passed. It goes on between waits, because most wait with one and the same
// context: to begin and end it takes a microsecond.
type watch struct {
	mu     sync.Mutex
	done   <-chan struct{} // of the context that is watched
	cancel func()          // nil when none is
	closed bool
}

// on makes ctx the one that is watched; limit sets the deadline. It may have been set for
// the one before; for that it is not set any more after on returned.
func (w *watch) on(ctx context.Context, limit func(time.Time) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := ctx.Done()
	if w.closed || done == w.done {
		return
	}
	w.off()
	if done == nil {
		return
	}
	ended := make(chan struct{})
	// It refers to nothing but the file, by limit: a Poller that is dropped is garbage.
	stop := context.AfterFunc(ctx, func() {
		limit(aLongTimeAgo)
		close(ended)
	})
	w.done = done
	w.cancel = func() {
		if !stop() {
			<-ended
		}
	}
}

// off ends the watch.
func (w *watch) off() {
	if w.cancel != nil {
		w.cancel()
	}
	w.done, w.cancel = nil, nil
}

// close is off for good.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.off()
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)
