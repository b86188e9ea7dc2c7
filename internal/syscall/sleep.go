package syscall

import (
	"os"
	"sync"
	"time"
)

// sleep is the state of one call of Poller.Wait. Its timer ends the sleep as the end of a context
// does: it calls limit with a time in the past.
type sleep struct {
	limit func(time.Time) error
	woken func(fd int) bool
	tick  func() bool

	mu     sync.Mutex
	over   bool // woken and tick must not be called any more
	clock  *time.Timer
	gaveUp chan struct{} // closed when giveUp returns; nil unless clock will call giveUp
}

// edgeGrace is how long a sleep continues after tick returned true, to see whether a
// wakeup for the same change was already under way.
const edgeGrace = 5 * time.Millisecond

// look calls woken. The runtime calls look before it sleeps and after each wakeup.
func (s *sleep) look(fd uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = s.woken(int(fd))
	return s.over
}

// start starts the timer, if interval is positive. The caller must call stop at the end of
// the sleep. After stop has returned, tick is not called and no deadline is set.
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

// onTimer calls tick. If tick returns true, onTimer does not end the sleep at once, but
// lets it continue for edgeGrace, since that is the only way to find out whether a wakeup
// is under way: the runtime forgets earlier wakeups when a new wait begins.
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

// giveUp ends the sleep, unless a wakeup has already ended it.
func (s *sleep) giveUp() {
	defer close(s.gaveUp)
	drainPoller()
	s.limit(aLongTimeAgo)
}

// drainPoller returns when the runtime has received all wakeups that were pending in the
// kernel at the call. A busy or stalled process can run timers before it polls for
// wakeups. drainPoller causes another wakeup and waits for it: wakeups arrive in order
// (fs/eventpoll.c, ep_poll_callback; runtime.netpoll).
func drainPoller() {
	r, w, err := os.Pipe()
	if err != nil {
		return // a wakeup can then be mistaken for a find by the timer
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
