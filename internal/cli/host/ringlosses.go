package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/top"
	"github.com/rbtool/rbtool/metrics"
)

// ringLosses finds out what a ring loses while inspect --for --drops watches it, and what would help.
type ringLosses struct {
	id      ebpf.MapID
	counter *lossCounter   // nil without --drops: then nothing is known
	advisor *drops.Advisor // nil for a user ring, and for a ring whose records cannot be observed
	user    bool           // a user ring: drains are of interest, else reservations
	last    *metrics.Losses
}

// watchLosses starts to watch m if --drops is given: it counts failed reservations, or the failed drains of a user ring. It prints
// to stderr what that costs. The caller must close the ringLosses.
func (o *inspectOptions) watchLosses(stderr io.Writer, m *ebpf.Map, id ebpf.MapID) (l *ringLosses, err error) {
	l = &ringLosses{id: id, user: m.Type() == ebpf.UserRingbuf}
	switch {
	case !o.drops:
		return l, nil
	case l.user:
		l.counter, err = countDrains()
	default:
		l.counter, err = countLosses(id)
	}
	if err != nil {
		return nil, err
	}
	if l.counter.announce(stderr); l.user {
		return l, nil
	}
	if l.advisor, err = newAdvisor(m, id); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// newAdvisor returns an Advisor of m, or nil if its records cannot be observed.
func newAdvisor(m *ebpf.Map, id ebpf.MapID) (*drops.Advisor, error) {
	usage, err := inspect.Users(m)
	if err != nil {
		return nil, err
	}
	var consumers []uint32
	for _, u := range usage.Users[id] {
		if u.Consumes {
			consumers = append(consumers, uint32(u.PID))
		}
	}
	a, err := drops.NewAdvisor(m, consumers...)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return nil, nil // in overwrite mode on machines that reorder stores
	}
	return a, err
}

// follow takes notes until ctx is done.
func (l *ringLosses) follow(ctx context.Context) error {
	if l.counter == nil {
		return nil
	}
	const every = 50 * time.Millisecond // pauses of the consumer that are shorter are not seen
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := l.note(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return l.note()
		case <-tick.C:
		}
	}
}

// note reads the counts, and gives them to the advisor.
func (l *ringLosses) note() (err error) {
	if l.last, err = l.counter.read(); err != nil || l.advisor == nil {
		return err
	}
	refused := uint64(0)
	if r := l.ring(); r != nil {
		refused = r.FailedBytes
	}
	l.advisor.Note(refused)
	return nil
}

// ring returns what was counted of the ring, or nil.
func (l *ringLosses) ring() *drops.Ring {
	if l.last == nil || l.last.Report == nil {
		return nil
	}
	return ringOf(l.last, l.id)
}

// drained returns what was counted of drains of the ring, or nil if they are not counted.
func (l *ringLosses) drained() *metrics.Drains {
	if !l.user || l.last == nil || l.last.Drains == nil {
		return nil
	}
	return drainsOf(l.last, l.id)
}

// Close ends the watch.
func (l *ringLosses) Close() (err error) {
	if l.counter == nil {
		return nil
	}
	if l.advisor != nil {
		err = l.advisor.Close()
	}
	return errors.Join(err, l.counter.Close())
}

// advice returns what would help the ring most, or "".
func (l *ringLosses) advice() string {
	if l.advisor == nil {
		return ""
	}
	a := l.advisor.Advice()
	for _, one := range command.Advise(&a, l.ring()) {
		return one.Text
	}
	return ""
}

// dropRows returns rows of a table about the failed reservations of a ring.
func dropRows(r *drops.Ring) [][]string {
	text := fmt.Sprintf("%d of %d reservations failed, %d bytes", r.Failed, r.Calls, r.FailedBytes)
	if r.FailedLow != r.FailedHigh {
		text += fmt.Sprintf("; %d to %d, exactly", r.FailedLow, r.FailedHigh)
	}
	rows := [][]string{{"drops", text}}
	for i := range r.Callers {
		if c := &r.Callers[i]; c.Failed > 0 {
			rows = append(rows, []string{"", fmt.Sprintf("%d of %d by %s (id %d)", c.Failed, c.Calls, top.CallerName(c), c.Program)})
		}
	}
	return rows
}

// drainRow returns a row of a table about the drains of a user ring.
func drainRow(d *metrics.Drains) []string {
	failed := d.Busy + d.Invalid + d.TooBig + d.Failed
	text := fmt.Sprintf("%d, %d samples; %d failed", d.Calls, d.Samples, failed)
	if failed > 0 {
		text += fmt.Sprintf(" (%d EBUSY, %d EINVAL, %d E2BIG, %d others)", d.Busy, d.Invalid, d.TooBig, d.Failed)
	}
	return []string{"drains", text}
}
