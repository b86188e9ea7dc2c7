package consumer_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A waiting reader uses hardly any CPU time.
func TestIdleCPU(t *testing.T) {
	for i, kind := range kinds {
		for _, busy := range []bool{false, true} {
			if testing.Short() && busy != (i%2 == 0) {
				continue
			}
			name := kind.name + " at an empty ring"
			if busy {
				name = kind.name + " at a BUSY record"
			}
			t.Run(name, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := testenv.Ring(t, testenv.PageSize)
				p := load(t, m)
				run(t, p, ten)
				if busy {
					hold(t, p, 10)
				}
				wait, _ := kind.open(t, m, consumer.Options{})
				checkIdle(t, wait)
			})
		}
	}
	t.Run("a Group of 20 rings, some with a BUSY record", func(t *testing.T) {
		testenv.NoLeaks(t)
		var maps []*ebpf.Map
		for i := range 20 {
			maps = append(maps, testenv.Ring(t, testenv.PageSize))
			if i < 3 {
				hold(t, load(t, maps[i]), 0)
			}
		}
		checkIdle(t, group(t, consumer.Options{}, maps...).Wait)
	})
}

// checkIdle measures the CPU time that this process uses while wait waits.
func checkIdle(t *testing.T, wait func(context.Context) error) {
	t.Helper()
	// On an emulated CPU each turn of the timer takes many times longer, and time that its host
	// takes away counts as used. A wait that spins uses all of the CPU time there too.
	span, limit := 1500*time.Millisecond, 0.005
	if testing.Short() {
		span, limit = 500*time.Millisecond, 0.5
	}
	runtime.GC()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait(ctx)
	}()
	asleep(t)
	// The Go runtime itself uses some CPU time now and then, so one round below the limit is
	// enough. A wait that spins exceeds the limit in every round.
	const most = 10
	share := 1.0
	for tries := 0; tries < most && share > limit; tries++ {
		before, start := cpuTime(t), time.Now()
		select {
		case <-done:
			t.Fatal("it does not wait")
		case <-time.After(span):
		}
		share = float64(cpuTime(t)-before) / float64(time.Since(start))
	}
	if share > limit {
		t.Errorf("used %.2f%% of a CPU in the last of %d spans of %v", 100*share, most, span)
	}
	cancel()
	<-done
}

// cpuTime returns the CPU time that this process has used.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
