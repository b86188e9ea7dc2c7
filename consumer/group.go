package consumer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Group consumes many rings on one goroutine and with one descriptor, however
// many the rings. It is fair: a pass takes a bounded number of records from
// each ring that has some when it begins, so one that is flooded does not starve
// a quiet one.
type Group struct {
	members []member
	opts    Options
	poller  *syscall.Poller // of an epoll instance with all rings in it
	closed  atomic.Bool

	// What follows belongs to the reading goroutine.
	hot     []int // members that may hold records, in the order of their turns
	bad     int   // how many members are
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

// NewGroup returns a Group of the given rings, whose indices are those in maps.
// As [NewReader] does, it keeps what it needs of them; maps may be closed. A
// ring that is given twice is an error.
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

// NewGroupFromMap returns a Group of the rings that are in outer now, a map of
// type ArrayOfMaps (such as a ring for each CPU) or HashOfMaps. [Group.Keys] tells
// which ring is which. A ring that stands under several keys is one ring of the group.
// An entry that is replaced while the map is read counts with its new ring; the kernel may
// hide an entry of a HashOfMaps that is replaced all the time.
// It takes CAP_SYS_ADMIN to open maps by their id (kernel/bpf/syscall.c,
// bpf_map_get_fd_by_id).
func NewGroupFromMap(outer *ebpf.Map, opts Options) (*Group, error) {
	if t := outer.Type(); t != ebpf.ArrayOfMaps && t != ebpf.HashOfMaps {
		return nil, fmt.Errorf("read group %s: map is a %s, not one of maps", outer, t)
	}
	return newGroup(opts, func(g *Group, epoll int) error { return g.addAll(epoll, outer) })
}

// newGroup returns a Group of the members that fill adds.
func newGroup(opts Options, fill func(g *Group, epoll int) error) (*Group, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("read group: create epoll: %w", err)
	}
	defer unix.Close(epoll) // the poller has its own
	// An epoll instance can itself be polled, by the runtime's.
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

// addAll adds the rings in outer.
func (g *Group) addAll(epoll int, outer *ebpf.Map) error {
	entries, err := entriesOf(outer)
	if err != nil {
		return err
	}
	ids := make(map[ebpf.MapID]int)
	for _, e := range entries {
		id := e.id
		if _, known := ids[id]; !known {
			id, err = g.addInner(epoll, outer, e.key, id, ids)
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				continue // the entry was deleted
			}
			if err != nil {
				return fmt.Errorf("ring under key %x: %w", e.key, err)
			}
		}
		i := ids[id]
		g.members[i].keys = append(g.members[i].keys, e.key)
	}
	return nil
}

// addInner adds the ring under key, last seen with id, and returns its present id. A ring
// that is a member already is not added again.
func (g *Group) addInner(epoll int, outer *ebpf.Map, key []byte, id ebpf.MapID, ids map[ebpf.MapID]int) (ebpf.MapID, error) {
	m, id, err := openInner(outer, key, id)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	if _, known := ids[id]; known {
		return id, nil
	}
	ids[id] = len(g.members)
	return id, g.add(epoll, m)
}

// openInner opens the ring under key, last seen with id, and returns its present id: the
// entry may have been replaced and the old ring freed. The error is [ebpf.ErrKeyNotExist] if
// the entry was deleted.
func openInner(outer *ebpf.Map, key []byte, id ebpf.MapID) (*ebpf.Map, ebpf.MapID, error) {
	const tries = 100 // another process may keep replacing it
	for range tries {
		m, err := ebpf.NewMapFromID(id)
		if !errors.Is(err, fs.ErrNotExist) {
			return m, id, err
		}
		was := id
		if err := outer.Lookup(key, &id); err != nil {
			return nil, 0, err
		}
		if id == was { // the entry keeps the ring alive, so err means something else
			return nil, 0, err
		}
	}
	return nil, 0, fmt.Errorf("replaced %d times while opening it", tries)
}

// add makes m the next member. The mapping keeps the open file description
// alive, and with it the epoll registration, so no descriptor is kept.
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

// Len is the number of rings.
func (g *Group) Len() int { return len(g.members) }

// Keys returns the keys under which ring i stood in the map of maps, in its byte
// order; none for a Group of NewGroup.
func (g *Group) Keys(i int) [][]byte { return g.members[i].keys }

// Stats returns the state of ring i, see [Reader.Stats].
func (g *Group) Stats(i int) (Stats, error) { return g.members[i].Stats() }

// Err returns the error that ended the last pass before its end; see
// [Reader.Err]. One that concerns a single ring is a [*RingError].
func (g *Group) Err() error { return g.err }

// Close is as [Reader.Close], for all rings.
func (g *Group) Close() error {
	if g.closed.Swap(true) {
		return nil
	}
	errs := []error{g.poller.Close()}
	for i := range g.members {
		// Not a copy of the member: the rest of it is the reading goroutine's.
		errs = append(errs, g.members[i].Close())
	}
	return errors.Join(errs...)
}

// defaultShare is how many records a pass takes from a ring when not told.
const defaultShare = 1024

// Pass returns an iterator over records of the rings that have some, with the index of
// each record's ring in [Record].Ring: at most limit from each ring, 1,024 if limit is
// zero. As in [Reader.Pass] records are not copied, and are consumed when the
// loop goes on. A ring that is corrupt or was stolen ends the pass with a [*RingError] in
// [Group.Err], once, and is left out of later ones.
func (g *Group) Pass(limit int) iter.Seq[Record] {
	if limit <= 0 {
		limit = defaultShare
	}
	return func(yield func(Record) bool) {
		if g.err = g.refresh(); g.err != nil {
			return
		}
		// The first ring of this pass is the last of the next.
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

// Records is as [Reader.Records], over all rings.
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
