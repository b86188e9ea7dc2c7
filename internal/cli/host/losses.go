package host

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpf/userdrains"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/top"
	"github.com/rbtool/rbtool/metrics"
)

// dropsHelp describes the flag --drops of several commands.
const dropsHelp = "also count the reservations that fail, which costs every reservation of the host some time"

// lossCounter counts failed reservations, and failed drains of user rings where the kernel lets that be done.
type lossCounter struct {
	counter *drops.Counter      // nil if only drains are counted
	drains  *userdrains.Counter // nil if the kernel does not let drains be counted
	blind   error               // why not
}

// countLosses starts to count, for the given rings or for all. If that is impossible on this host, the error says why, with its
// status. The caller must close the lossCounter.
func countLosses(maps ...ebpf.MapID) (c *lossCounter, err error) {
	c = new(lossCounter)
	if c.counter, err = drops.New(drops.Options{Maps: maps}); err != nil {
		return nil, command.CannotCount("--drops", err)
	}
	if err := c.countDrains(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// countDrains starts to count the drains of user rings only.
func countDrains() (*lossCounter, error) {
	c := new(lossCounter)
	if err := c.countDrains(); err != nil {
		return nil, err
	}
	return c, nil
}

// countDrains counts drains if the kernel lets that be done.
func (c *lossCounter) countDrains() (err error) {
	c.drains, err = userdrains.New()
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EPERM) {
		c.drains, c.blind = nil, err
		return nil
	}
	return err
}

// Close ends counting.
func (c *lossCounter) Close() (err error) {
	if c.counter != nil {
		err = c.counter.Close()
	}
	if c.drains != nil {
		err = errors.Join(err, c.drains.Close())
	}
	return err
}

// about says what counts, and what it costs and cannot see.
func (c *lossCounter) about() []string {
	if c.counter == nil {
		return nil
	}
	info := c.counter.Engine()
	return append([]string{fmt.Sprintf("failed reservations are counted by %s: %s %s", info.Engine, info.Why, command.CountingCost(info.CallCost))}, info.Limits...)
}

// announce prints what counts, and what it costs and cannot see.
func (c *lossCounter) announce(stderr io.Writer) {
	printNotes(stderr, c.about())
	if c.blind != nil {
		command.Note(stderr, "drains of user ring buffers are not counted: %v", c.blind)
	}
}

// read returns the counts so far.
func (c *lossCounter) read() (l *metrics.Losses, err error) {
	l = new(metrics.Losses)
	if c.counter != nil {
		l.Engine = c.counter.Engine()
		if l.Report, err = c.counter.Read(); err != nil {
			return nil, err
		}
	}
	if c.drains == nil {
		return l, nil
	}
	counted, err := c.drains.Read()
	if err != nil {
		return nil, err
	}
	l.Drains = []metrics.Drains{}
	for _, d := range counted {
		l.Drains = append(l.Drains, metrics.Drains(d))
	}
	return l, nil
}

// watchedHost is a host whose rings top watches.
type watchedHost struct {
	*inspect.Sampler
	only   ebpf.MapID   // the ring whose failed reservations are counted; 0: all
	losses *lossCounter // nil without --drops
}

// count starts to count failed reservations.
func (h *watchedHost) count() (err error) {
	var rings []ebpf.MapID
	if h.only != 0 {
		rings = []ebpf.MapID{h.only}
	}
	h.losses, err = countLosses(rings...)
	return err
}

// Sample takes a sample. Its notes say what counts failed reservations, if they are counted.
func (h *watchedHost) Sample() (*inspect.Report, error) {
	sample, err := h.Sampler.Sample()
	if err == nil && h.losses != nil {
		sample.Notes = append(slices.Clip(sample.Notes), h.losses.about()...)
	}
	return sample, err
}

// drops returns the failed reservations so far, or nil if they are not counted.
func (h *watchedHost) drops() (*top.Drops, error) {
	if h.losses == nil {
		return nil, nil
	}
	r, err := h.losses.counter.Read()
	if err != nil {
		return nil, err
	}
	return top.NewDrops(r, h.only), nil
}

// drainsOf returns the counts of a user ring, zero if it was not drained.
func drainsOf(l *metrics.Losses, id ebpf.MapID) *metrics.Drains {
	i := slices.IndexFunc(l.Drains, func(d metrics.Drains) bool { return d.Map == id })
	if i < 0 {
		return &metrics.Drains{Map: id}
	}
	return &l.Drains[i]
}

// ringOf returns the counts of a ring, or nil.
func ringOf(l *metrics.Losses, id ebpf.MapID) *drops.Ring {
	i := slices.IndexFunc(l.Report.Rings, func(r drops.Ring) bool { return r.ID == id && !r.Gone })
	if i < 0 {
		return nil
	}
	return &l.Report.Rings[i]
}
