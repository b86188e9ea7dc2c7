package fleet

import (
	"context"
	"errors"
	"time"
)

const (
	dropAfter = time.Second           // for less than this the Forwarder always waits
	dropAgain = 20 * time.Millisecond // the same, behind a batch that was dropped
	lookEvery = 50 * time.Millisecond // whether a ring is full
)

// errFull ends a Store because the ring is full.
var errFull = errors.New("the ring is full")

// store stores a batch of a ring, or reports that it was dropped.
func (f *Forwarder) store(i int, b *Batch) (dropped bool, err error) {
	place := f.lanes[i].place
	if f.Full == nil {
		return false, place.Store(f.ctx, b)
	}
	first := dropAfter
	if b.Dropped > 0 {
		first = dropAgain
	}
	ctx, cancel := context.WithCancelCause(f.ctx)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for pause := first; ; pause = lookEvery {
			select {
			case <-time.After(pause):
			case <-stop:
				return
			}
			if f.Full(i) {
				cancel(errFull)
				return
			}
		}
	}()
	err = place.Store(ctx, b)
	close(stop)
	<-stopped
	cancel(nil)
	if errors.Is(err, errFull) || errors.Is(err, ErrTooLarge) {
		return true, nil
	}
	return false, err
}
