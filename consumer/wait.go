package consumer

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Wait blocks until the next record can be read, or the next pass has an error to report. It
// returns the error of ctx if ctx is done first, and an error matching [os.ErrClosed] after Close.
// Before it sleeps, Wait publishes what was consumed. If that fails, it returns an error as
// [Reader.Err] does.
//
// A waiting Reader uses a goroutine, not a thread, and no CPU time except for [Options].BusyPoll
// and Timer, whether the ring is empty or the next record is BUSY.
func (r *Reader) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if found, err := r.poll(ctx); found || err != nil {
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

// poll looks for a record without waiting for the poller. It may pause, see pauseFor, and spin for
// Options.BusyPoll. If it finds no record, everything consumed is published.
func (r *Reader) poll(ctx context.Context) (bool, error) {
	if !r.enter() {
		return false, errClosed
	}
	defer r.leave()
	ended := func() bool { return ctx.Err() != nil || r.mem.Closed() }
	if r.ready() {
		return true, nil
	}
	if d := r.pauseFor(time.Now()); d > 0 {
		pause(d, ended)
		if r.ready() {
			return true, nil
		}
	}
	if err := r.publish(0); err != nil {
		return false, err
	}
	return spin(r.opts.BusyPoll, r.ready, ended), nil
}

// pauseFor returns how long a wait that finds no record at the time now pauses before it sleeps.
func (r *Reader) pauseFor(now time.Time) time.Duration {
	if r.opts.adapts() {
		return r.inflow(now).pause()
	}
	if r.pos != r.published && r.hold() > 0 {
		return r.opts.Coalesce
	}
	return 0
}

// peek is ready for callers that have not called enter. After Close it returns true, to end waits.
func (r *Reader) peek() bool {
	if !r.mem.Acquire() {
		return true
	}
	defer r.release()
	return r.ready()
}

// pause sleeps for d, or until ended returns true. It is for times too short for the timers of the
// runtime, which in an idle process have the resolution of epoll_wait(2), 1 ms.
func pause(d time.Duration, ended func() bool) {
	const longestNap = time.Millisecond
	for ; d > 0 && !ended(); d -= longestNap {
		t := unix.NsecToTimespec(int64(min(d, longestNap)))
		unix.Nanosleep(&t, nil) // a signal may end it early
	}
}

// spin calls ready for up to d, until ready or ended returns true. It returns the last result of
// ready.
func spin(d time.Duration, ready, ended func() bool) bool {
	if d <= 0 {
		return false
	}
	// Read the clock only after several polls: it takes longer than a poll.
	const polls = 16
	for start := time.Now(); ; {
		for range polls {
			if ready() {
				return true
			}
		}
		if time.Since(start) >= d || ended() {
			return false
		}
	}
}
