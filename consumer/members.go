package consumer

import (
	"io"
	"sync"
)

// memberList has the members of a group by index. The reading goroutine calls next, put and
// remove, and may read list; other goroutines call get, len and close.
type memberList[M io.Closer] struct {
	mu     sync.Mutex // for list where it is written, and where another goroutine reads it
	list   []M
	free   []int // indices of removed members, which get new members first
	closed bool
}

// next returns the index for the next member.
func (s *memberList[M]) next() int {
	if n := len(s.free); n > 0 {
		return s.free[n-1]
	}
	return len(s.list)
}

// put gives a member the index from next. It returns false after close: the caller then closes m.
func (s *memberList[M]) put(m M) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if n := len(s.free); n > 0 {
		s.list[s.free[n-1]], s.free = m, s.free[:n-1]
	} else {
		s.list = append(s.list, m)
	}
	return true
}

// remove closes member i and frees its index.
func (s *memberList[M]) remove(i int) error {
	s.free = append(s.free, i)
	return s.list[i].Close()
}

func (s *memberList[M]) get(i int) M {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[i]
}

// len counts the members, with those that were removed and not replaced.
func (s *memberList[M]) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// close closes all members, whose Close is idempotent.
func (s *memberList[M]) close() (errs []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, m := range s.list {
		errs = append(errs, m.Close())
	}
	return errs
}
