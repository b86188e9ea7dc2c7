package consumer

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Wait is [Reader.Wait] for a record of any ring of the Group. If the records of a ring cannot be
// published, the error is a [*RingError].
func (g *Group) Wait(ctx context.Context) error {
	// Wait checks only hot rings, which may have records. A ring stops being hot if it has nothing
	// to read after everything consumed was published: the epoll instance then reports its next
	// record as an edge.
	if err := ctx.Err(); err != nil {
		return err
	}
	found, err := g.poll(ctx)
	if g.closed.Load() {
		return errGroupClosed
	}
	if found || err != nil {
		return err
	}
	late, err := g.poller.Wait(ctx, g.opts.timer(), g.harvest, g.scan)
	if g.closed.Load() {
		return errGroupClosed
	}
	if late {
		for _, i := range g.hot {
			g.members.list[i].counts.late.Add(1)
		}
	}
	return err
}

// poll looks for records without waiting for the poller. It may pause, see pauseFor, and spin for
// Options.BusyPoll. If it finds no record, everything consumed is published and no ring is hot.
func (g *Group) poll(ctx context.Context) (bool, error) {
	ended := func() bool { return ctx.Err() != nil || g.closed.Load() }
	if g.anyHot() {
		return true, nil
	}
	if d := g.pauseFor(time.Now()); d > 0 {
		pause(d, ended)
		if g.anyHot() {
			return true, nil
		}
	}
	if err := g.cool(); err != nil {
		return false, err
	}
	if len(g.hot) > 0 {
		return true, nil
	}
	return spin(g.opts.BusyPoll, g.scan, ended), nil
}

// anyHot reports whether a hot ring has a record to read.
func (g *Group) anyHot() bool {
	for _, i := range g.hot {
		if g.members.list[i].peek() {
			return true
		}
	}
	return false
}

// pauseFor returns how long a wait that finds no record at the time now pauses before it sleeps.
func (g *Group) pauseFor(now time.Time) time.Duration {
	if g.opts.adapts() {
		return g.inflow(now).pause()
	}
	if g.held() {
		return g.opts.Coalesce
	}
	return 0
}

// inflow returns what came into the hot rings since their previous waits, at the time now.
func (g *Group) inflow(now time.Time) inflow {
	var in inflow
	for _, i := range g.hot {
		if m := g.members.list[i]; m.mem.Acquire() {
			in.add(m.inflow(now))
			m.release()
		}
	}
	return in
}

// held reports whether the last pass left the space of a record of a hot ring unpublished, for
// Options.Coalesce.
func (g *Group) held() bool {
	for _, i := range g.hot {
		m := g.members.list[i]
		if !m.mem.Acquire() {
			return false
		}
		held := m.pos != m.published && m.hold() > 0
		m.release()
		if held {
			return true
		}
	}
	return false
}

// cool publishes what was consumed from the hot rings. Rings that then have nothing to read are no
// longer hot.
func (g *Group) cool() error {
	kept := g.hot[:0]
	for n, i := range g.hot {
		m := g.members.list[i]
		if !m.mem.Acquire() {
			return errGroupClosed
		}
		err := m.publish(0)
		m.hot = err != nil || m.ready()
		m.release()
		if m.hot {
			kept = append(kept, i)
		}
		if err != nil {
			g.hot = append(kept, g.hot[n+1:]...)
			return &RingError{i, err}
		}
	}
	g.hot = kept
	return nil
}

// refresh makes hot the rings that got records while the Group was reading other rings and did not
// wait. It finds records without a wakeup only at the interval of the slow timer.
func (g *Group) refresh() error {
	if g.closed.Load() {
		return errGroupClosed
	}
	if len(g.hot)+g.bad == len(g.members.list) {
		return nil
	}
	if timer := g.opts.timer(); timer > 0 && time.Since(g.scanned) >= timer {
		g.scanned = time.Now()
		g.scan()
	}
	return g.poller.Do(func(fd int) { g.harvest(fd) })
}

// heat makes ring i hot, because it may have records.
func (g *Group) heat(i int) {
	if m := g.members.list[i]; !m.hot && !m.bad {
		m.hot = true
		g.hot = append(g.hot, i)
	}
}

// scan makes hot all rings that have a record to read. It reports whether any ring is hot or the
// Group is closed.
func (g *Group) scan() bool {
	for i := range g.members.list {
		if g.members.list[i].peek() {
			g.heat(i)
		}
	}
	return len(g.hot) > 0 || g.closed.Load()
}

// harvest takes the pending edges of the epoll instance fd, and makes hot those of their rings that
// have a record to read. It reports whether any ring is hot or the Group is closed.
func (g *Group) harvest(fd int) bool {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(fd, events[:], 0)
		for _, e := range events[:max(n, 0)] {
			if g.members.list[e.Fd].peek() {
				g.heat(int(e.Fd))
			}
		}
		switch {
		case err == unix.EINTR || n == len(events): // there may be more events
		case err != nil:
			return g.scan()
		default:
			return len(g.hot) > 0 || g.closed.Load()
		}
	}
}
