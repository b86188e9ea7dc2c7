package drops_test

import (
	"sync"
	"testing"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
)

// mostMeetings is the number of runs in which two CPUs that write to the same ring meet at last. On an emulated machine one of them stands
// still in the ring for each hundredth to thousandth call at best.
const mostMeetings = 500

func TestCallsThatMeetAnotherCPU(t *testing.T) {
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		one, other := load(t, reservers.Config{Steps: burst}, reservers.Reserve), load(t, reservers.Config{Steps: burst}, reservers.Reserve)
		c := count(t, drops.Options{Engine: e})
		atOnce := func(sets ...*reservers.Set) {
			var wg sync.WaitGroup
			for cpu, s := range sets {
				wg.Go(func() {
					restore, err := pin(cpu)
					if err != nil {
						t.Error(err)
						return
					}
					defer restore()
					for range 20 {
						if err := s.Run(reservers.Reserve); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}
		atOnce(one, other) // advice: a ring for each CPU
		for _, s := range []*reservers.Set{one, other} {
			if _, r := read(t, c, s.Ring); r.Contended != 0 || r.Calls != 20*burst {
				t.Errorf("%d of %d calls met another CPU in a ring for each", r.Contended, r.Calls)
			}
		}
		if testing.Short() {
			return // no CPU may stand still in the ring for minutes
		}
		for n := 1; ; n++ {
			atOnce(one, one)
			if _, r := read(t, c, one.Ring); r.Contended > 0 {
				t.Logf("%d of %d calls met the other CPU", r.Contended, r.Calls)
				break
			}
			if n == mostMeetings || t.Failed() {
				t.Fatalf("no call met the other CPU in %d rounds", n)
			}
		}
	})
}
