package syscall

import (
	"context"
	"os"
	"sync"
	"time"
)

// sleep is one Poller.Wait. The end of its context and its timer both end the
// sleep by a deadline of the file.
type sleep struct {
	ctx   context.Context
	file  *os.File
	woken func(fd int) bool
	tick  func() bool

	mu    sync.Mutex
	over  bool // neither woken nor tick may be called any more
	clock *time.Timer
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// edgeGrace is how long a sleep goes on for a wakeup that is under way when the
// timer finds what it would announce.
const edgeGrace = 10 * time.Millisecond

// look is what the runtime calls before it sleeps and after each wakeup.
func (s *sleep) look(fd uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = s.woken(int(fd))
	return s.over
}

// watch makes the end of the context end the sleep. The function that it
// returns must be called when the sleep is over; after it no deadline is set.
func (s *sleep) watch() (stop func()) {
	if s.ctx.Done() == nil {
		return func() {}
	}
	ended := make(chan struct{})
	cancel := context.AfterFunc(s.ctx, func() {
		s.file.SetReadDeadline(aLongTimeAgo)
		close(ended)
	})
	return func() {
		if !cancel() {
			<-ended
		}
	}
}

// start starts the timer, if there is to be one. The function that it returns must be
// called when the sleep is over; after it tick is not called.
func (s *sleep) start(interval time.Duration) (stop func()) {
	if interval <= 0 {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = time.AfterFunc(interval, func() { s.onTimer(interval) })
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.over = true
		s.clock.Stop()
	}
}

// onTimer does not end the sleep when tick is true, it bounds it: whether a
// wakeup is under way can only be learned by going on, because the runtime
// forgets one that came when it begins to wait anew.
func (s *sleep) onTimer(interval time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
	case !s.tick():
		s.clock.Reset(interval)
	default:
		s.file.SetReadDeadline(time.Now().Add(edgeGrace))
		if s.ctx.Err() != nil { // its deadline may just have been replaced
			s.file.SetReadDeadline(aLongTimeAgo)
		}
	}
}
