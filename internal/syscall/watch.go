package syscall

import (
	"context"
	"sync"
	"time"
)

// watch ends a Poller's sleeps when a context ends, by setting a deadline that has passed.
// It continues to watch the context between waits, because most waits use the same
// context, and starting and ending a watch takes a microsecond.
type watch struct {
	mu     sync.Mutex
	done   <-chan struct{} // Done of the context that is watched
	cancel func()          // nil if no context is watched
	closed bool
}

// on watches ctx instead of the context that was watched before. limit sets the deadline.
// After on has returned, the end of the earlier context does not set the deadline any
// more, but it may have set it before.
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
	// The function refers only to the Poller's file, through limit, not to the Poller: a
	// Poller that is no longer used can be garbage-collected.
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

// off stops watching the context.
func (w *watch) off() {
	if w.cancel != nil {
		w.cancel()
	}
	w.done, w.cancel = nil, nil
}

// close stops watching, and makes on do nothing.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.off()
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)
