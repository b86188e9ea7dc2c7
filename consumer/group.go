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
// bounded number of records from each ring that has records when the pass begins, so a flooded ring
// does not starve a quiet ring. The caller must close it.
//
// One goroutine at a time may read, and call Add and Remove between two passes. Any goroutine may call
// the other methods: Close, Keys, Len and Stats.
type Group struct {
	members memberList[*member]
	opts    Options
	poller  *syscall.Poller // polls an epoll instance that watches all rings
	closed  atomic.Bool

	// The reading goroutine owns the fields below.
	hot     []int // members that may have records, in the order of their turns
	bad     int   // number of bad members
	scanned time.Time
	err     error
}

type member struct {
	*Reader
	keys    [][]byte
	hot     bool
	bad     bool // its ring was removed, or reported as corrupt or stolen; later passes leave it out
	removed bool
}

// RingError is an error of one ring of a Group. It matches what its cause matches.
type RingError struct {
	Ring int   // index of the ring in the Group
	Err  error // the cause, as from a Reader of that ring
}

func (e *RingError) Error() string { return fmt.Sprintf("ring %d of the group: %v", e.Ring, e.Err) }

// Unwrap returns the cause.
func (e *RingError) Unwrap() error { return e.Err }

// NewGroup returns a Group of maps, all of type RingBuf. Ring i of the Group is maps[i]. The Group
// keeps its own mappings; maps may be closed. Each ring is opened with opts as by [NewReader], and
// an error of a ring is wrapped in a [*RingError]. Passing the same ring twice is an error.
func NewGroup(maps []*ebpf.Map, opts Options) (*Group, error) {
	return newGroup(opts, func(g *Group) error {
		ids := make(map[ebpf.MapID]int)
		for i, m := range maps {
			id, err := mapID(m)
			if err != nil {
				return &RingError{i, err}
			}
			if first, twice := ids[id]; twice {
				return &RingError{i, fmt.Errorf("map is the same as that of ring %d", first)}
			}
			ids[id] = i
			if _, err := g.Add(m); err != nil {
				return &RingError{i, err}
			}
		}
		return nil
	})
}

// newGroup returns a Group of the members that fill adds.
func newGroup(opts Options, fill func(g *Group) error) (*Group, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("read group: create epoll: %w", err)
	}
	defer unix.Close(epoll) // the poller duplicates it
	// An epoll instance can itself be polled, so the runtime can wait for it.
	poller, err := syscall.NewPoller(epoll)
	if err != nil {
		return nil, fmt.Errorf("read group: %w", err)
	}
	g := &Group{opts: opts, poller: poller}
	if err := fill(g); err != nil {
		g.Close()
		return nil, fmt.Errorf("read group: %w", err)
	}
	return g, nil
}

// Add makes m, a map of type RingBuf, a ring of the Group, and returns its index: that of a removed
// ring if there is one, otherwise the old Len. The Group keeps its own mapping; m may be closed. Errors
// are those of [NewReader] without the name of m, and one matching [os.ErrClosed] after Close.
func (g *Group) Add(m *ebpf.Map) (int, error) {
	r, err := mapReader(m, g.opts)
	if err != nil {
		return 0, err
	}
	i := g.members.next()
	// The mapping keeps the open file description of m alive, and with it the registration in epoll, so
	// the Group keeps no descriptor of m.
	closed := g.poller.Do(func(epoll int) { err = watch(epoll, m.FD(), i) })
	if err := errors.Join(closed, err); err != nil {
		r.Close()
		return 0, err
	}
	replaces := i < len(g.members.list)
	if !g.members.put(&member{Reader: r}) {
		r.Close()
		return 0, errGroupClosed
	}
	if replaces {
		g.bad--
	}
	g.heat(i)
	return i, nil
}

// watch makes epoll report events of the map fd as those of ring i.
func watch(epoll, fd, i int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | edgeTriggered, Fd: int32(i)}
	err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event)
	if err == unix.EEXIST { // the ring was removed while its descriptor stayed open
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_MOD, fd, &event)
	}
	if err != nil {
		return fmt.Errorf("add to epoll: %w", err)
	}
	return nil
}

// Remove closes ring i, with 0 <= i < Len, see [Reader.Close]. [Group.Add] may give its index to another
// ring; until then its Stats fail with [os.ErrClosed]. It is idempotent.
func (g *Group) Remove(i int) error {
	m := g.members.list[i]
	if m.removed {
		return nil
	}
	m.removed = true
	g.leaveOut(i)
	return g.members.remove(i)
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

// Len returns the number of rings, with those that were removed and not replaced.
func (g *Group) Len() int { return g.members.len() }

// Keys returns the raw keys under which [NewGroupFromMap] found ring i, with 0 <= i < Len. It
// returns none for a Group from [NewGroup]. The caller must not change them.
func (g *Group) Keys(i int) [][]byte { return g.members.get(i).keys }

// Stats returns the state of ring i, with 0 <= i < Len, see [Reader.Stats]. Any goroutine may call
// it.
func (g *Group) Stats(i int) (Stats, error) { return g.members.get(i).Stats() }

// Err returns the error that ended the last pass early, or nil. It is like [Reader.Err], but an
// error of a single ring is a [*RingError].
func (g *Group) Err() error { return g.err }

// Close closes all rings, see [Reader.Close]. It is idempotent.
func (g *Group) Close() error {
	if g.closed.Swap(true) {
		return nil
	}
	return errors.Join(append(g.members.close(), g.poller.Close())...)
}

// defaultShare is the number of records that a pass takes from a ring at most by default.
const defaultShare = 1024

// Pass returns an iterator over the records of all rings that have records, at most limit of each
// ring, or 1,024 if limit is zero. [Record].Ring is the index of the ring. As in [Reader.Pass],
// records are not copied, with the same exceptions, and moving on to the next record consumes the
// previous record. A ring that is corrupt or was stolen ends one pass with a [*RingError] in
// [Group.Err]; later passes leave that ring out.
func (g *Group) Pass(limit int) iter.Seq[Record] {
	if limit <= 0 {
		limit = defaultShare
	}
	return func(yield func(Record) bool) {
		if g.err = g.refresh(); g.err != nil {
			return
		}
		// The ring with the first turn in this pass has the last turn in the next.
		if len(g.hot) > 1 {
			first := g.hot[0]
			copy(g.hot, g.hot[1:])
			g.hot[len(g.hot)-1] = first
		}
		for _, i := range g.hot {
			m := g.members.list[i]
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

// fail makes the error of ring i the error of the Group. If the ring is corrupt or stolen, later
// passes leave it out.
func (g *Group) fail(i int) {
	m := g.members.list[i]
	g.err = &RingError{i, m.err}
	if errors.Is(m.err, ErrCorrupt) || errors.Is(m.err, ErrBusy) {
		g.leaveOut(i)
	}
}

// leaveOut makes later passes leave out ring i.
func (g *Group) leaveOut(i int) {
	m := g.members.list[i]
	if m.bad {
		return
	}
	m.bad, m.hot = true, false
	g.bad++
	g.hot = slices.DeleteFunc(g.hot, func(j int) bool { return j == i })
}

// Records is [Reader.Records] for all rings. A [*RingError] ends it too; a new call of Records then
// continues with the other rings.
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
