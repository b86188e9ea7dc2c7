package fleet

import (
	"context"
	"sync"
)

// kicks tells all places when the connection has changed.
type kicks struct {
	mu      sync.Mutex
	each    []chan struct{}
	attempt context.Context // until the next kick
	end     context.CancelFunc
}

// add returns a channel that gets a value after each kick.
func (k *kicks) add() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := make(chan struct{}, 1)
	k.each = append(k.each, c)
	return c
}

// until returns a context that ends with the next kick: no answer comes over a connection that was lost.
func (k *kicks) until() context.Context {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.attempt == nil {
		k.attempt, k.end = context.WithCancel(context.Background())
	}
	return k.attempt
}

func (k *kicks) kick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.attempt != nil {
		k.end()
		k.attempt = nil
	}
	for _, c := range k.each {
		select {
		case c <- struct{}{}:
		default: // it has one that it has not seen yet
		}
	}
}
