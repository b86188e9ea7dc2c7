package drops

import (
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
	"github.com/rbtool/rbtool/internal/clock"
)

// keptSeconds bounds Ring.Seconds.
const keptSeconds = 600

// secondsOf has the failures of a ring by the second of CLOCK_MONOTONIC.
type secondsOf struct {
	failed map[uint32]ringcalls.Tally
	worst  uint32
	most   ringcalls.Tally // of the worst second
}

func newSeconds() *secondsOf { return &secondsOf{failed: map[uint32]ringcalls.Tally{}} }

// set stores the failures of a second. It replaces those of an earlier call for the same second.
func (s *secondsOf) set(second uint32, t ringcalls.Tally) {
	s.failed[second] = t
	if t.Failed > s.most.Failed || second == s.worst {
		s.worst, s.most = second, t
	}
	if len(s.failed) > keptSeconds {
		delete(s.failed, slices.Min(slices.Collect(maps.Keys(s.failed))))
	}
}

// list returns the seconds, oldest first, and the worst one.
func (s *secondsOf) list(c *clock.Clocks) (list []Second, worst Second) {
	for _, second := range slices.Sorted(maps.Keys(s.failed)) {
		t := s.failed[second]
		list = append(list, Second{wallTime(c, time.Duration(second)*time.Second), t.Failed, t.FailedBytes})
	}
	return list, Second{wallTime(c, time.Duration(s.worst)*time.Second), s.most.Failed, s.most.FailedBytes}
}

// wallTime converts a time of CLOCK_MONOTONIC; 0 is none.
func wallTime(c *clock.Clocks, mono time.Duration) time.Time {
	if mono == 0 {
		return time.Time{}
	}
	wall, _ := c.Monotonic(uint64(mono))
	return time.Unix(0, wall)
}

// makeRoom removes from the kernel's table the seconds in which nothing more can fail.
func (c *Counter) makeRoom(s *ringcalls.Snapshot) error {
	latest := map[ebpf.MapID]uint32{}
	for key := range s.Seconds {
		latest[key.Ring] = max(latest[key.Ring], key.Second)
	}
	for key := range s.Seconds {
		if key.Second+2 <= latest[key.Ring] {
			if err := c.calls.Forget(key); err != nil {
				return err
			}
		}
	}
	return nil
}
