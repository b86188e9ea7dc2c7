package userprod

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/internal/order"
)

// lock is a mutex for what takes less time than waking a thread. While nobody else wants
// it, Lock and Unlock cost one locked instruction; sync.Mutex costs two. Those who wait
// spin one at a time, those behind them sleep in the queue. Who may keep it for
// long has the queue too (LockLong): then everybody sleeps.
type lock struct {
	held  uint64 // 1 while somebody has it
	queue sync.Mutex
}

func (l *lock) TryLock() bool { return atomic.CompareAndSwapUint64(&l.held, 0, 1) }

// Lock is short enough for the compiler to inline it.
func (l *lock) Lock() {
	if !l.TryLock() {
		l.wait()
	}
}

func (l *lock) wait() {
	l.queue.Lock()
	l.spin()
	l.queue.Unlock()
}

func (l *lock) Unlock() { order.StoreRelease(&l.held, 0) }

// spin takes held. The caller has the queue, so whoever holds it does not for long:
// a sample of copyLocked bytes is copied meanwhile.
func (l *lock) spin() {
	const (
		yields = 16 // then the holder's thread is not running
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

// pause lets some time pass, unless held is free.
func (l *lock) pause(loads int) {
	for range loads {
		if atomic.LoadUint64(&l.held) == 0 {
			return
		}
	}
}

// LockLong is Lock for who may keep it for long; UnlockLong ends it.
func (l *lock) LockLong() {
	if !l.queue.TryLock() {
		l.enqueue()
	}
	l.spin()
}

func (l *lock) UnlockLong() {
	l.Unlock()
	l.queue.Unlock()
}

// enqueue takes the queue. Most batches are over in less time than it takes to sleep and
// be woken, so at first it only looks now and then: whoever has the
// queue keeps it for several batches meanwhile, and memory stays with one processor.
func (l *lock) enqueue() {
	const (
		looks    = 24
		interval = 8192 // loads of a word in the cache: two microseconds
	)
	if runtime.NumCPU() > 1 {
		var word uint64
		for i := range looks {
			for range min(interval, 512<<i) {
				atomic.LoadUint64(&word)
			}
			if l.queue.TryLock() {
				return
			}
		}
	}
	l.queue.Lock()
}
