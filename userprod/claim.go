package userprod

import (
	"errors"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// claimRing claims m for a Producer. It returns the claim and the mapping of the ring, which the
// caller owns.
func claimRing(m *ebpf.Map, opts Options) (claim.ID, *ring.Mapping, error) {
	id, mem, err := take(m, opts.Steal)
	if err != nil || opts.Claimed == nil {
		return id, mem, err
	}
	if err := opts.Claimed(); err != nil {
		id.Release(mem.ProducerClaim())
		return 0, nil, errors.Join(err, mem.Unmap())
	}
	return id, mem, nil
}

// take maps the ring and claims it. It maps a ring writable only if the ring is free, because other
// processes take a process with a writable mapping for a producer without a claim. It never
// displaces a live holder: the holder may write a sample into free room before it checks its claim.
func take(m *ebpf.Map, steal bool) (claim.ID, *ring.Mapping, error) {
	most := claim.Gone
	if steal {
		most = claim.Unknown
	}
	size := uint64(m.MaxEntries())
	view, err := ring.Observe(m.FD(), size)
	if err != nil {
		return 0, nil, err
	}
	held := claim.ID(view.ProducerClaim().Load()).Beyond(most)
	if err := errors.Join(held, view.Unmap()); err != nil {
		return 0, nil, err
	}
	mem, err := ring.Produce(m.FD(), size)
	if err != nil {
		return 0, nil, err
	}
	id, _, err := claim.Take(mem.ProducerClaim(), most)
	if err != nil {
		return 0, nil, errors.Join(err, mem.Unmap())
	}
	return id, mem, nil
}
