package userprod

import (
	"context"
	"sync/atomic"
)

// gate is a mutex on which a wait can be ended. While no goroutine sleeps, Lock and Unlock cost one
// locked instruction each, as in sync.Mutex.
type gate struct {
	taken  atomic.Bool
	asleep atomic.Int32    // number of goroutines in sleep
	wake   chan struct{}   // contains a token if the gate was unlocked while goroutines slept
	hand   chan struct{}   // unbuffered: the holder gives the gate to a sleeper
	closed <-chan struct{} // ends every sleep
}

func newGate(closed <-chan struct{}) gate {
	return gate{wake: make(chan struct{}, 1), hand: make(chan struct{}), closed: closed}
}

func (g *gate) TryLock() bool { return !g.taken.Load() && g.taken.CompareAndSwap(false, true) }

// Lock takes the gate. It fails with the error of ctx if ctx is done first, and with errClosed if
// the Producer is closed first.
func (g *gate) Lock(ctx context.Context) error {
	if g.TryLock() {
		return nil
	}
	return g.sleep(ctx)
}

// sleep waits for the gate. If a goroutine was woken and a faster goroutine took the gate, the
// former also lets the holder hand the gate to it, so it does not starve.
func (g *gate) sleep(ctx context.Context) error {
	g.asleep.Add(1)
	defer g.asleep.Add(-1)
	var hand chan struct{} // while hand is nil, nobody can send on it
	// The TryLock after Add pairs with Unlock, which clears taken and then loads asleep: either
	// TryLock finds the gate free, or Unlock puts a token into wake.
	for !g.TryLock() {
		select {
		case <-g.wake:
			hand = g.hand
		case <-hand:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-g.closed:
			return errClosed
		}
	}
	return nil
}

func (g *gate) Unlock() {
	if g.asleep.Load() > 0 {
		select {
		case g.hand <- struct{}{}:
			return
		default:
		}
	}
	g.taken.Store(false)
	if g.asleep.Load() > 0 {
		select {
		case g.wake <- struct{}{}:
		default: // wake already contains a token
		}
	}
}
