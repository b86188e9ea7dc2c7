package consumer

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Wait blocks until the next record can be read. It returns ctx's error when
// ctx is done first, an error that is [os.ErrClosed] after Close, and that of
// [Options].BeforePublish: before sleeping, all that was consumed is published.
//
// A waiting Reader costs a goroutine, not a thread, and no CPU time but the slow
// timer's, whether the ring is empty or a BUSY record is at its head.
func (r *Reader) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if found, err := r.look(ctx); found || err != nil {
		return err
	}
	late, err := r.poller.Wait(ctx, r.opts.timer(), func(int) bool { return r.peek() }, r.peek)
	if r.mem.Closed() || errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	if late {
		r.counts.late.Add(1)
	}
	return err
}

// look looks for a record in all the ways that do not sleep in the poller. When
// it finds none, all that was consumed is published.
func (r *Reader) look(ctx context.Context) (bool, error) {
	if !r.enter() {
		return false, errClosed
	}
	defer r.leave()
	ended := func() bool { return ctx.Err() != nil || r.mem.Closed() }
	if r.ready() {
		return true, nil
	}
	if r.pos != r.published && r.hold() > 0 {
		pause(r.opts.Coalesce, ended)
		if r.ready() {
			return true, nil
		}
	}
	if err := r.publish(0); err != nil {
		return false, err
	}
	return spin(r.opts.BusyPoll, r.ready, ended), nil
}

// peek is ready for those who have not entered. Once closed it is true, so that
// waiting ends.
func (r *Reader) peek() bool {
	if !r.mem.Acquire() {
		return true
	}
	defer r.leave()
	return r.ready()
}

// pause sleeps for d, which is too short for the runtime's timers: those of an
// otherwise idle process are as coarse as epoll_wait(2), 1 ms. A d that is not so short
// is cut into naps, so that ended ends it.
func pause(d time.Duration, ended func() bool) {
	const longestNap = time.Millisecond
	for ; d > 0 && !ended(); d -= longestNap {
		t := unix.NsecToTimespec(int64(min(d, longestNap)))
		unix.Nanosleep(&t, nil) // a signal may end it early
	}
}

// spin calls ready for up to d, until it or ended returns true. It returns
// what ready did.
func spin(d time.Duration, ready, ended func() bool) bool {
	if d <= 0 {
		return false
	}
	// Looking at the clock takes longer than looking at the ring.
	const looks = 16
	for start := time.Now(); ; {
		for range looks {
			if ready() {
				return true
			}
		}
		if time.Since(start) >= d || ended() {
			return false
		}
	}
}
