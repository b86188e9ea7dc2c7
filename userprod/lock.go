package userprod

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/internal/order"
)

// lock is a mutex for critical sections that take less time than waking a thread. Without
// contention, Lock and Unlock together cost one locked instruction; those of sync.Mutex cost two.
// One waiting goroutine spins; the others sleep in the queue. LockLong is for long critical
// sections: its caller also keeps the queue, so all waiting goroutines sleep.
//
// Lock and LockLong fail with the error of ctx if ctx is done while they sleep, and with errClosed
// if the Producer is closed while they sleep. They do not check either before they sleep.
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

// Unlock releases what TryLock acquires (litmus lock-release).
func (l *lock) Unlock() { order.StoreRelease(&l.held, 0) }

// spin takes held. The caller has the queue, so the holder is in a short critical section, in which
// it copies at most copyLocked bytes.
func (l *lock) spin() {
	const (
		yields = 16 // after this many, assume that the thread of the holder is not running
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

// pause loads held the given number of times, and returns earlier if held is free.
func (l *lock) pause(loads int) {
	for range loads {
		if atomic.LoadUint64(&l.held) == 0 {
			return
		}
	}
}

// LockLong is Lock for long critical sections. UnlockLong ends the section.
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

// enqueue takes the queue. Most batches end sooner than a goroutine could sleep and be woken, so
// enqueue polls first, at growing intervals. Between two polls the holder can run several batches,
// and the memory of the ring stays in the cache of one processor.
func (l *lock) enqueue(ctx context.Context) error {
	const (
		polls    = 24
		interval = 8192 // loads of a cached word: about two microseconds
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
