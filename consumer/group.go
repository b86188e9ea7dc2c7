package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Group consumes many rings on one goroutine and with one descriptor. It is fair: a pass takes a
// bounded number of records from each ring that has some when the pass begins, so that a flooded
// ring does not starve a quiet one.
//
// One goroutine at a time may read. Close and Stats may be called by any.
type Group struct {
	members []member
	opts    Options
	poller  *syscall.Poller // of an epoll instance that watches all rings
	closed  atomic.Bool

	// The reading goroutine owns these.
	hot     []int // members that may have records, in the order of their turns
	bad     int   // number of bad members
	scanned time.Time
	err     error
}

type member struct {
	*Reader
	keys [][]byte
	hot  bool
	bad  bool // reported as corrupt or stolen, and left out since
}

// RingError is an error of one ring of a Group.
type RingError struct {
	Ring int // its index
	Err  error
}

func (e *RingError) Error() string { return fmt.Sprintf("ring %d of the group: %v", e.Ring, e.Err) }

// Unwrap returns the cause.
func (e *RingError) Unwrap() error { return e.Err }

// NewGroup returns a Group of maps, all of type RingBuf; their indices are those of the rings. The
// Group keeps what it needs of them; maps may be closed. Each ring is opened as by [NewReader],
// with its errors in a [*RingError]. A ring given twice is an error.
func NewGroup(maps []*ebpf.Map, opts Options) (*Group, error) {
	return newGroup(opts, func(g *Group, epoll int) error {
		ids := make(map[ebpf.MapID]int)
		for i, m := range maps {
			id, err := mapID(m)
			if err != nil {
				return &RingError{i, err}
			}
			if first, twice := ids[id]; twice {
				return &RingError{i, fmt.Errorf("the same map as ring %d", first)}
			}
			ids[id] = i
			if err := g.add(epoll, m); err != nil {
				return &RingError{i, err}
			}
		}
		return nil
	})
}

// newGroup returns a Group of the members that fill adds.
func newGroup(opts Options, fill func(g *Group, epoll int) error) (*Group, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("read group: create epoll: %w", err)
	}
	defer unix.Close(epoll) // the poller duplicates it
	// The runtime's poller can poll an epoll instance.
	poller, err := syscall.NewPoller(epoll)
	if err != nil {
		return nil, fmt.Errorf("read group: %w", err)
	}
	g := &Group{opts: opts, poller: poller}
	if err := fill(g, epoll); err != nil {
		g.Close()
		return nil, fmt.Errorf("read group: %w", err)
	}
	return g, nil
}

// add makes m the next member. The mapping keeps the open file description alive, and with it the
// epoll registration, so no descriptor is kept.
func (g *Group) add(epoll int, m *ebpf.Map) error {
	r, err := mapReader(m, g.opts)
	if err != nil {
		return err
	}
	i := len(g.members)
	event := unix.EpollEvent{Events: unix.EPOLLIN | edgeTriggered, Fd: int32(i)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, m.FD(), &event); err != nil {
		r.Close()
		return fmt.Errorf("add to epoll: %w", err)
	}
	g.members = append(g.members, member{Reader: r})
	g.heat(i)
	return nil
}

// edgeTriggered is EPOLLET, which x/sys declares as a negative number.
const edgeTriggered = unix.EPOLLET & 0xffffffff

func mapID(m *ebpf.Map) (ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("map has no id")
	}
	return id, nil
}

// Len returns the number of rings.
func (g *Group) Len() int { return len(g.members) }

// Keys returns the keys of ring i in the map of maps, in its byte order; none for a Group of
// NewGroup.
func (g *Group) Keys(i int) [][]byte { return g.members[i].keys }

// Stats returns the state of ring i, see [Reader.Stats]. Any goroutine may call it.
func (g *Group) Stats(i int) (Stats, error) { return g.members[i].Stats() }

// Err returns the error that ended the last pass early, or nil, see [Reader.Err]. An error of a
// single ring is a [*RingError].
func (g *Group) Err() error { return g.err }

// Close closes all rings, see [Reader.Close].
func (g *Group) Close() error {
	if g.closed.Swap(true) {
		return nil
	}
	errs := []error{g.poller.Close()}
	for i := range g.members {
		// By index: the reading goroutine owns the rest of the member.
		errs = append(errs, g.members[i].Close())
	}
	return errors.Join(errs...)
}

// defaultShare is how many records a pass takes from a ring by default.
const defaultShare = 1024

// Pass returns an iterator over the records of all rings that have some, with the index of each
// record's ring in [Record].Ring: at most limit records of each ring, 1,024 if limit is zero. As
// in [Reader.Pass], records are not copied, and going on to the next record consumes the one
// before. A ring that is corrupt or was stolen ends the pass with a [*RingError] in [Group.Err],
// once, and later passes leave it out.
func (g *Group) Pass(limit int) iter.Seq[Record] {
	if limit <= 0 {
		limit = defaultShare
	}
	return func(yield func(Record) bool) {
		if g.err = g.refresh(); g.err != nil {
			return
		}
		// The first ring of this pass comes last in the next.
		if len(g.hot) > 1 {
			first := g.hot[0]
			copy(g.hot, g.hot[1:])
			g.hot[len(g.hot)-1] = first
		}
		for _, i := range g.hot {
			m := &g.members[i]
			for rec := range m.Pass(limit) {
				rec.Ring = i
				if !yield(rec) {
					return
				}
			}
			if m.err != nil {
				g.fail(i)
				return
			}
		}
	}
}

// fail makes the error of ring i the Group's.
func (g *Group) fail(i int) {
	m := &g.members[i]
	g.err = &RingError{i, m.err}
	if errors.Is(m.err, ErrCorrupt) || errors.Is(m.err, ErrBusy) {
		m.bad, m.hot = true, false
		g.bad++
		g.hot = slices.DeleteFunc(g.hot, func(j int) bool { return j == i })
	}
}

// Records is [Reader.Records] for all rings.
func (g *Group) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			if err := g.Wait(ctx); err != nil {
				yield(Record{}, err)
				return
			}
			for rec := range g.Pass(0) {
				if !yield(rec, nil) {
					return
				}
			}
			if g.err != nil {
				yield(Record{}, g.err)
				return
			}
		}
	}
}

var errGroupClosed = fmt.Errorf("read group: %w", os.ErrClosed)
