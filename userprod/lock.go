package userprod

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/internal/order"
)

// lock is a mutex for critical sections that take less time than waking a thread. Without
// contention Lock and Unlock cost one locked instruction; sync.Mutex costs two. One
// waiting goroutine spins, those behind it sleep in the queue. LockLong, for long critical
// sections, also keeps the queue, so that all waiting goroutines sleep.
//
// Lock and LockLong fail with ctx's error if ctx is done while they sleep, and with
// errClosed if the Producer is closed then. They check neither before they sleep.
type lock struct {
	held  uint64 // 1 while locked
	queue gate
}

func newLock(closed <-chan struct{}) lock { return lock{queue: newGate(closed)} }

func (l *lock) TryLock() bool { return atomic.CompareAndSwapUint64(&l.held, 0, 1) }

// Lock is short enough for the compiler to inline it.
func (l *lock) Lock(ctx context.Context) error {
	if l.TryLock() {
		return nil
	}
	return l.wait(ctx)
}

// wait is Lock for a caller whose TryLock has just failed.
func (l *lock) wait(ctx context.Context) error {
	if err := l.queue.Lock(ctx); err != nil {
		return err
	}
	l.spin()
	l.queue.Unlock()
	return nil
}

func (l *lock) Unlock() { order.StoreRelease(&l.held, 0) }

// spin takes held. The caller has the queue, so the holder is in a short critical section,
// in which it copies at most copyLocked bytes.
func (l *lock) spin() {
	const (
		yields = 16 // after these, the holder's thread is not running
		nap    = 20 * time.Microsecond
	)
	for i := 0; !l.TryLock(); i++ {
		if i < yields {
			l.pause(64)
			runtime.Gosched()
		} else {
			time.Sleep(nap)
		}
	}
}

// pause spends some time, less if held becomes free.
func (l *lock) pause(loads int) {
	for range loads {
		if atomic.LoadUint64(&l.held) == 0 {
			return
		}
	}
}

// LockLong is Lock for long critical sections; UnlockLong ends one.
func (l *lock) LockLong(ctx context.Context) error {
	if !l.queue.TryLock() {
		if err := l.enqueue(ctx); err != nil {
			return err
		}
	}
	l.spin()
	return nil
}

func (l *lock) UnlockLong() {
	l.Unlock()
	l.queue.Unlock()
}

// enqueue takes the queue. Most batches end sooner than a goroutine could sleep and be woken,
// so it polls first, at growing intervals. Meanwhile the holder runs several batches, and
// memory stays with one processor.
func (l *lock) enqueue(ctx context.Context) error {
	const (
		polls    = 24
		interval = 8192 // loads of a word in the cache: two microseconds
	)
	if runtime.NumCPU() > 1 {
		var word uint64
		for i := range polls {
			for range min(interval, 512<<i) {
				atomic.LoadUint64(&word)
			}
			if l.queue.TryLock() {
				return nil
			}
		}
	}
	return l.queue.Lock(ctx)
}
