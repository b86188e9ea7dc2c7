package userprod

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestLockExcludes(t *testing.T) {
	testenv.NoLeaks(t)
	var (
		l   lock
		n   int // the race detector looks on
		all sync.WaitGroup
	)
	const goroutines, times = 8, 2000
	for g := range goroutines {
		all.Go(func() {
			for range times {
				switch {
				case g%3 == 0:
					l.LockLong()
					n++
					l.UnlockLong()
				case g%3 == 1 && l.TryLock():
					n++
					l.Unlock()
				default:
					l.Lock()
					n++
					l.Unlock()
				}
			}
		})
	}
	all.Wait()
	if n != goroutines*times {
		t.Errorf("%d of %d additions", n, goroutines*times)
	}
}

// Who has it for long costs the others no time of a processor.
func TestThoseWhoWaitForALongLockSleep(t *testing.T) {
	testenv.NoLeaks(t)
	var (
		l   lock
		all sync.WaitGroup
	)
	l.LockLong()
	for range 4 {
		all.Go(func() {
			l.Lock()
			defer l.Unlock()
		})
		all.Go(func() {
			l.LockLong()
			defer l.UnlockLong()
		})
	}
	asleep := func() int {
		stacks := make([]byte, 1<<20)
		return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("[sync.Mutex.Lock"))
	}
	for deadline := time.Now().Add(20 * time.Second); asleep() < 8; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 8 sleep", asleep())
		}
	}
	l.UnlockLong()
	all.Wait()
}
