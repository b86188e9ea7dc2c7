package userring

import (
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// If producer_pos has wrapped around at 2^64 and consumer_pos has not, the kernel drains nothing.
// That is a fault, and the repair empties the ring.
func TestProducerPositionThatHasWrappedAround(t *testing.T) {
	const cons = 1<<64 - 16
	size := uint64(testenv.PageSize)
	for _, tt := range []struct {
		rule string
		prod uint64
		lost uint64
	}{
		{"at 0", 0, 16},
		{"after 0", 24, 40},
		{"not a multiple of 8", 20, 36},
		{"more than the ring ahead", 2 * size, 16}, // the sample with which the ring restarts wraps around too
	} {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.NewMemory(t, size)
			*m.ConsumerPos(), *m.ProducerPos() = cons, tt.prod
			*m.Word(size - 16) = 8 // the header at cons, of a committed sample
			mem, err := ring.Produce(m.FD, size)
			if err != nil {
				t.Fatal(err)
			}
			defer mem.Unmap()
			if d := Examine(mem); d.Fault == nil || d.Fault.Pos != cons || d.Committed != 0 {
				t.Errorf("before the repair: %+v", d)
			}
			found, err := Restore(mem, true)
			if err != nil || found.Mended == nil || found.Lost != tt.lost {
				t.Errorf("repair: %+v, %v; want %d bytes lost", found, err, tt.lost)
			}
			if d := Examine(mem); d.Fault != nil || d.ProducerPos != d.ConsumerPos {
				t.Errorf("after the repair: %+v", d)
			}
		})
	}
}
