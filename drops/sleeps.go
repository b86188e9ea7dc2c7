package drops

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/proc"
)

// Sleeps counts how often processes went to sleep, which is at least how often something woke them: the consumer of a ring
// that sleeps as often as records come pays for a wakeup with each record. The sleeps of a process for other reasons count too.
//
// One goroutine at a time may use a Sleeps.
type Sleeps struct {
	pids    []uint32
	threads map[thread]uint64 // what was counted of each
	total   uint64
	started bool
}

type thread struct {
	pid uint32
	id  int
}

// NewSleeps returns a Sleeps for processes, by their pids.
func NewSleeps(pids ...uint32) *Sleeps {
	return &Sleeps{pids: pids, threads: map[thread]uint64{}}
}

// Count returns how often the processes have gone to sleep since the first call. Sleeps of a thread after the last call
// before its end are missing. The error is that of the first process that cannot be read; the others count nevertheless.
func (s *Sleeps) Count() (total uint64, err error) {
	for _, pid := range s.pids {
		switches, e := proc.VoluntarySwitches(proc.Dir(pid))
		if e != nil && err == nil {
			err = fmt.Errorf("count sleeps of process %d: %w", pid, e)
		}
		for id, n := range switches {
			t := thread{pid, id}
			// All sleeps of a thread that has come since the last call are later than that call.
			if before := s.threads[t]; s.started && n > before {
				s.total += n - before
			}
			s.threads[t] = n
		}
	}
	s.started = true
	return s.total, err
}
