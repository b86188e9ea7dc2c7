package drops

import (
	"testing"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
	"github.com/rbtool/rbtool/internal/clock"
)

func TestSeconds(t *testing.T) {
	s := newSeconds()
	for second := range uint32(keptSeconds + 10) {
		s.set(second+1, ringcalls.Tally{Failed: 1, FailedBytes: 48})
	}
	s.set(5, ringcalls.Tally{Failed: 7, FailedBytes: 7 * 48})
	s.set(keptSeconds+10, ringcalls.Tally{Failed: 3, FailedBytes: 3 * 48}) // the same second, read again
	list, worst := s.list(clock.From(func() (clock.Reading, bool) { return clock.Reading{Mono: 1e15, Boot: 1e15, Real: 2e18}, true }))
	if len(list) != keptSeconds || !list[0].Time.Before(list[1].Time) || list[len(list)-1].Failed != 3 {
		t.Errorf("%d seconds from %+v to %+v", len(list), list[0], list[len(list)-1])
	}
	if worst.Failed != 7 || worst.FailedBytes != 7*48 {
		t.Errorf("worst second %+v", worst)
	}
}
