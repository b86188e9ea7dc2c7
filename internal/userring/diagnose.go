package userring

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// Diagnosis is what [Diagnose] found in a ring. Positions are in bytes.
type Diagnosis struct {
	ConsumerPos, ProducerPos uint64

	// Committed, Discarded and Busy count the undrained samples; if there is a Fault, only the
	// samples before it.
	Committed, Discarded, Busy int
	// BusyPos is the position of the oldest busy sample, at which the kernel stops draining. If the
	// ring has no producer, that sample is abandoned.
	BusyPos uint64

	// Holder is the claim of the producer of the ring. The process that took it may have ended.
	// Holder is 0 if the ring is unclaimed.
	Holder claim.ID

	// Fault is nil if the ring is consistent.
	Fault *Fault
}

// CheckType returns an error if m is not a user ring buffer.
func CheckType(m *ebpf.Map) error {
	if m.Type() != ebpf.UserRingbuf {
		return fmt.Errorf("map is a %s, not a UserRingbuf", m.Type())
	}
	return nil
}

// Diagnose examines m without changing it. The counts are approximate while the ring is in use.
func Diagnose(m *ebpf.Map) (Diagnosis, error) {
	err := CheckType(m)
	var mem *ring.Mapping
	if err == nil {
		mem, err = ring.Observe(m.FD(), uint64(m.MaxEntries()))
	}
	if err != nil {
		return Diagnosis{}, fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	d := Examine(mem)
	if err := mem.Unmap(); err != nil {
		return Diagnosis{}, fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	return d, nil
}

// Examine is [Diagnose] of a mapped ring.
func Examine(mem *ring.Mapping) Diagnosis {
	var d Diagnosis
	// If the ring changes during the walk, it looks inconsistent: walk again.
	const tries = 100
	for range tries {
		d = count(mem)
		if d.Fault == nil || uint64(mem.ConsumerPos()) == d.ConsumerPos {
			break
		}
	}
	d.Holder = claim.ID(mem.ProducerClaim().Load())
	return d
}

func count(mem *ring.Mapping) Diagnosis {
	cons, prod := mem.ConsumerPos(), mem.ProducerPos()
	d := Diagnosis{ConsumerPos: uint64(cons), ProducerPos: uint64(prod)}
	d.Fault = walk(mem, cons, prod, func(pos ring.Pos, t ring.Tagged) {
		switch t.Header().State(ring.User) {
		case ring.Discarded:
			d.Discarded++
		case ring.Busy:
			if d.Busy++; d.Busy == 1 {
				d.BusyPos = uint64(pos)
			}
		default:
			d.Committed++
		}
	})
	return d
}

// Release releases the claim holder of m, unless another opener has taken the ring.
func Release(m *ebpf.Map, holder claim.ID) error {
	mem, err := ring.Produce(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return fmt.Errorf("release claim of ring %s: %w", m, err)
	}
	holder.Release(mem.ProducerClaim())
	return mem.Unmap()
}
