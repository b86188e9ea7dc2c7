package userprod

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/owner"
	"github.com/rbtool/rbtool/internal/ring"
)

// claim is this process's right to produce into a ring: its ID in a word of the
// ring's producer page. It ends with release, or when the process dies.
type claim struct {
	self owner.ID
	id   ebpf.MapID
}

// producing holds the IDs of the rings that this process has claimed. A claim of
// this process that is not here was made before it called execve(2), which
// changes neither pid nor start time.
var producing sync.Map

// claimRing claims m for this process, makes sure that nobody else produces
// into it, and returns the ring's memory, which is the caller's.
func claimRing(m *ebpf.Map, opts Options) (claim, *ring.Mapping, error) {
	info, err := m.Info()
	if err != nil {
		return claim{}, nil, err
	}
	c := claim{}
	c.id, _ = info.ID()
	if c.self, err = owner.Self(); err != nil {
		return claim{}, nil, fmt.Errorf("claim: %w", err)
	}
	if _, taken := producing.LoadOrStore(c.id, true); taken {
		return claim{}, nil, &BusyError{PID: c.self.PID()}
	}
	mem, err := c.take(m)
	if err != nil {
		producing.Delete(c.id)
		return claim{}, nil, err
	}
	if !opts.IgnoreForeign {
		err = noForeign(func() ([]int, error) { return foreign(m, c.id, opts) })
	}
	if err != nil {
		c.release(mem)
		return claim{}, nil, errors.Join(err, mem.Unmap())
	}
	return c, mem, nil
}

// take maps the ring and claims it. While another has it, the ring is not
// mapped writable, by which a foreign producer is known.
func (c claim) take(m *ebpf.Map) (*ring.Mapping, error) {
	size := uint64(m.MaxEntries())
	look, err := ring.Observe(m.FD(), size)
	if err != nil {
		return nil, err
	}
	holder := owner.ID(look.ProducerClaim().Load())
	if err := look.Unmap(); err != nil {
		return nil, err
	}
	if holder != c.self && holder.Alive() {
		return nil, &BusyError{PID: holder.PID()}
	}
	mem, err := ring.Produce(m.FD(), size)
	if err != nil {
		return nil, err
	}
	if err := c.mark(mem.ProducerClaim()); err != nil {
		return nil, errors.Join(err, mem.Unmap())
	}
	return mem, nil
}

// mark writes the claim unless a living process has.
func (c claim) mark(word *atomic.Uint64) error {
	const tries = 100 // somebody may write there all the time
	for range tries {
		holder := owner.ID(word.Load())
		if holder != c.self && holder.Alive() {
			return &BusyError{PID: holder.PID()}
		}
		if word.CompareAndSwap(uint64(holder), uint64(c.self)) {
			return nil
		}
	}
	return fmt.Errorf("claim: %w: the word that names the producer does not hold still", ErrCorrupt)
}

// release gives the claim up, unless somebody has written over it.
func (c claim) release(mem *ring.Mapping) {
	mem.ProducerClaim().CompareAndSwap(uint64(c.self), 0)
	producing.Delete(c.id)
}

// noForeign returns an error that is ErrBusy if look, which finds the processes
// that have the ring mapped for producing, finds the same one twice: those that have
// just lost a race for the claim unmap the ring.
func noForeign(look func() ([]int, error)) error {
	before, err := look()
	if err != nil || len(before) == 0 {
		return err
	}
	now, err := look()
	if err != nil {
		return err
	}
	for _, pid := range now {
		if slices.Contains(before, pid) {
			return &BusyError{PID: uint32(pid), Foreign: true}
		}
	}
	return nil
}

// foreign finds the other processes that have the ring mapped for producing. The pid
// 0 stands for those that cannot be seen.
func foreign(m *ebpf.Map, id ebpf.MapID, opts Options) ([]int, error) {
	usage, err := inspect.Users(m)
	if err != nil {
		return nil, fmt.Errorf("look for foreign producers: %w", err)
	}
	var pids []int
	for _, u := range usage.Users[id] {
		// What was inferred from sizes may be about another ring.
		if u.Produces && !u.Self && (u.Exact || u.Holds) {
			pids = append(pids, u.PID)
		}
	}
	unseen, err := usage.Unseen(id)
	if err != nil && !opts.IgnoreUnseen {
		return nil, fmt.Errorf("%w: %w", ErrUnseen, err)
	}
	if unseen > 0 {
		pids = append(pids, 0)
	}
	return pids, nil
}
