package consumer

import (
	"bytes"
	"context"
	"iter"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Wait blocks until the next record can be read, or records were lost. It returns the error of ctx
// if ctx is done first, and an error matching [os.ErrClosed] after Close.
//
// If the last pass left nothing to read, Wait sleeps at least once, unless an eighth of the ring
// was produced since. So an Observer that follows a stream makes a bounded number of polls a
// second, and does not disturb the cache lines of the producer between them.
func (o *Observer) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	came, err := o.poll()
	if err != nil || came > 0 && (!o.rests || came >= o.mem.Size()/8) {
		return err
	}
	for {
		if err := sleep(ctx, o.nap, o.closed); err != nil {
			return err
		}
		if came, err = o.poll(); err != nil {
			return err
		}
		o.adapt(came)
		if came > 0 {
			return nil
		}
	}
}

// poll returns the number of bytes to read, lost ones included, or 0 if the next record is BUSY.
func (o *Observer) poll() (came uint64, err error) {
	if !o.mem.Acquire() {
		return 0, errObserverClosed
	}
	defer o.leave()
	came = uint64(o.mem.ProducerPos() - o.pos)
	if came == 0 || came > o.mem.Size() || came%8 != 0 || o.pos.Before(o.shown()) {
		return came, nil
	}
	if o.mem.Data().Header(o.pos).State(o.kind) == ring.Busy {
		return 0, nil
	}
	return came, nil
}

// adapt sets the length of the next sleep, so that about an eighth of the ring is produced during
// it. came is the number of bytes to read after the last sleep.
func (o *Observer) adapt(came uint64) {
	nap := 2 * o.nap
	if aim := o.mem.Size() / 8; came > aim/2 {
		nap = time.Duration(float64(o.nap) * float64(aim) / float64(came))
	}
	o.nap = min(max(nap, shortestNap), max(o.opts.Interval, shortestNap))
}

// sleep sleeps for d, or until ctx is done or closed is closed.
func sleep(ctx context.Context, d time.Duration, closed <-chan struct{}) error {
	if d < time.Millisecond {
		pause(d, func() bool { return ctx.Err() != nil || isClosed(closed) })
	} else {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-closed:
		}
	}
	if isClosed(closed) {
		return errObserverClosed
	}
	return ctx.Err()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Records returns an iterator that waits for records and yields them as [Observer.Pass] does. An
// error ends the iteration and is yielded last, with a zero Record: the error of ctx when ctx is
// done, one matching [os.ErrClosed] after Close, or one matching [ErrCorrupt].
func (o *Observer) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			if err := o.Wait(ctx); err != nil {
				yield(Record{}, err)
				return
			}
			for rec := range o.Pass(0) {
				if !yield(rec, nil) {
					return
				}
			}
			if o.err != nil {
				yield(Record{}, o.err)
				return
			}
		}
	}
}

// Read waits for the next record and returns a copy of it, which the caller owns. If a record is
// ready, Read returns it even if ctx is done. Errors are those of [Observer.Records]. Pass and
// Records are much faster.
func (o *Observer) Read(ctx context.Context) (Record, error) {
	for {
		rec, err := o.TryRead()
		if err != ErrEmpty {
			return rec, err
		}
		if err := o.Wait(ctx); err != nil {
			return Record{}, err
		}
	}
}

// TryRead is [Observer.Read] without waiting: the error matches [ErrEmpty] if no record is ready.
func (o *Observer) TryRead() (Record, error) {
	got, err := Record{}, ErrEmpty
	for rec := range o.Pass(1) {
		got, err = Record{Data: bytes.Clone(rec.Data), Pos: rec.Pos}, nil
	}
	if o.err != nil {
		return Record{}, o.err
	}
	return got, err
}
