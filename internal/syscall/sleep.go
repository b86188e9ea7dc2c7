package syscall

import (
	"os"
	"sync"
	"time"
)

// sleep is one Poller.Wait. Its timer ends it as the end of a context does, by a
// deadline, which limit sets.
type sleep struct {
	limit func(time.Time) error
	woken func(fd int) bool
	tick  func() bool

	mu     sync.Mutex
	over   bool // neither woken nor tick may be called any more
	clock  *time.Timer
	gaveUp chan struct{} // closed when giveUp is over; nil unless clock is to call it
}

// edgeGrace is how long a sleep goes on for a wakeup that is under way when the
// timer finds what it would announce.
const edgeGrace = 5 * time.Millisecond

// look is what the runtime calls before it sleeps and after each wakeup.
func (s *sleep) look(fd uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = s.woken(int(fd))
	return s.over
}

// start starts the timer, if there is to be one. The function that it returns must be
// called when the sleep is over; after it tick is not called and no deadline is set.
func (s *sleep) start(interval time.Duration) (stop func()) {
	if interval <= 0 {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = time.AfterFunc(interval, func() { s.onTimer(interval) })
	return s.stop
}

func (s *sleep) stop() {
	s.mu.Lock()
	s.over = true
	running := !s.clock.Stop() && s.gaveUp != nil
	s.mu.Unlock()
	if running {
		<-s.gaveUp
	}
}

// onTimer does not end the sleep when tick is true: whether a wakeup is under way
// can only be learned by going on for a while, because the runtime forgets one
// that came when it begins to wait anew.
func (s *sleep) onTimer(interval time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
	case !s.tick():
		s.clock.Reset(interval)
	default:
		s.gaveUp = make(chan struct{})
		s.clock = time.AfterFunc(edgeGrace, s.giveUp)
	}
}

// giveUp ends the sleep unless a wakeup has.
func (s *sleep) giveUp() {
	defer close(s.gaveUp)
	drainPoller()
	s.limit(aLongTimeAgo)
}

// drainPoller returns when the runtime has taken all wakeups that the kernel had
// for it at the call. A busy or stalled process may fire timers before it looks
// for them. It causes one more wakeup and waits for it: they come in order
// (fs/eventpoll.c, ep_poll_callback; runtime.netpoll).
func drainPoller() {
	r, w, err := os.Pipe()
	if err != nil {
		return // one wakeup may be missed in the accounts
	}
	defer r.Close()
	defer w.Close()
	conn, err := r.SyscallConn()
	if err != nil {
		return
	}
	written := false
	conn.Read(func(uintptr) bool {
		if written {
			return true
		}
		written = true
		_, err := w.Write([]byte{0})
		return err != nil
	})
}
