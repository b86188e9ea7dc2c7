package userprod

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// claimRing claims m for a Producer, makes sure that no other process produces
// into it, and returns the claim and the ring's memory, which is the caller's.
func claimRing(m *ebpf.Map, opts Options) (claim.ID, *ring.Mapping, error) {
	id, mem, err := take(m, opts.Steal)
	if err != nil {
		return 0, nil, err
	}
	if !opts.IgnoreForeign {
		err = noForeign(func() ([]int, error) { return foreign(m, opts) })
	}
	if err != nil {
		id.Release(mem.ProducerClaim())
		return 0, nil, errors.Join(err, mem.Unmap())
	}
	return id, mem, nil
}

// take maps the ring and claims it. While another has it, the ring is not
// mapped writable, by which a foreign producer is known. A live holder that has the ring
// mapped always keeps it: it writes samples into free room before it checks the claim.
func take(m *ebpf.Map, steal bool) (claim.ID, *ring.Mapping, error) {
	most := claim.Gone
	if steal {
		most = claim.Unknown
	}
	size := uint64(m.MaxEntries())
	look, err := ring.Observe(m.FD(), size)
	if err != nil {
		return 0, nil, err
	}
	holder := claim.ID(look.ProducerClaim().Load())
	if err := look.Unmap(); err != nil {
		return 0, nil, err
	}
	void := false
	if held := holder.Beyond(most); held != nil {
		if void, err = isVoid(m, steal); err != nil {
			return 0, nil, err
		}
		if !void {
			return 0, nil, held
		}
	}
	mem, err := ring.Produce(m.FD(), size)
	if err != nil {
		return 0, nil, err
	}
	if void {
		holder.Release(mem.ProducerClaim())
	}
	id, _, err := claim.Take(mem.ProducerClaim(), most)
	if err != nil {
		return 0, nil, errors.Join(err, mem.Unmap())
	}
	return id, mem, nil
}

// isVoid reports whether the claim that was read before the call is to be stolen and certainly no
// producer's: an opener maps the ring before it claims it, and no process has it mapped for producing.
func isVoid(m *ebpf.Map, steal bool) (bool, error) {
	if !steal {
		return false, nil
	}
	usage, id, err := users(m)
	if err != nil {
		return false, err
	}
	unseen, err := usage.Unseen(id)
	produces := func(u inspect.User) bool { return u.Produces }
	return err == nil && unseen == 0 && !slices.ContainsFunc(usage.Users[id], produces), nil
}

// users returns the processes that use m, and its id.
func users(m *ebpf.Map) (*inspect.Usage, ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return nil, 0, err
	}
	id, _ := info.ID()
	usage, err := inspect.Users(m)
	if err != nil {
		return nil, 0, fmt.Errorf("look for foreign producers: %w", err)
	}
	return usage, id, nil
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

// foreign finds the other processes that have the ring mapped for producing. Pid 0 stands
// for processes that cannot be seen.
func foreign(m *ebpf.Map, opts Options) ([]int, error) {
	usage, id, err := users(m)
	if err != nil {
		return nil, err
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
