package userring

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// Diagnosis is what lies in a ring. Positions are in bytes.
type Diagnosis struct {
	ConsumerPos, ProducerPos uint64

	// Samples that the kernel has not drained, up to the Fault if there is one:
	// complete, given up, and still to be completed.
	Committed, Discarded, Busy int
	// BusyPos is the position of the oldest that is Busy: the kernel does
	// not get past it. It is abandoned when nobody produces into the ring.
	BusyPos uint64

	// Holder is the process that has claimed the ring, by its pid in the
	// initial pid namespace, 0 if none has; HolderAlive says that it lives, or may live.
	Holder      uint32
	HolderAlive bool

	// Fault is nil when the ring makes sense.
	Fault *Fault
}

// Diagnose looks at m, a map of type UserRingbuf, without changing it, whoever
// produces into it. Of a ring that is in use the counts are those of some moment, roughly.
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

func Examine(mem *ring.Mapping) Diagnosis {
	var d Diagnosis
	// What changes while it is looked at seems to contradict itself: look again.
	const tries = 100
	for range tries {
		d = look(mem)
		if d.Fault == nil || mem.ConsumerPos() == d.ConsumerPos {
			break
		}
	}
	holder := claim.ID(mem.ProducerClaim().Load())
	d.Holder, d.HolderAlive = holder.PID(), holder.State() != claim.Gone
	return d
}

func look(mem *ring.Mapping) Diagnosis {
	d := Diagnosis{ConsumerPos: mem.ConsumerPos(), ProducerPos: mem.ProducerPos()}
	d.Fault = walk(mem, d.ConsumerPos, d.ProducerPos, func(pos uint64, t ring.Tagged) {
		switch h := t.Header(); {
		case h.Discarded():
			d.Discarded++
		case h.Busy():
			if d.Busy++; d.Busy == 1 {
				d.BusyPos = pos
			}
		default:
			d.Committed++
		}
	})
	return d
}

// CheckType returns an error if m is not a user ring buffer.
func CheckType(m *ebpf.Map) error {
	if m.Type() != ebpf.UserRingbuf {
		return fmt.Errorf("map is a %s, not a UserRingbuf", m.Type())
	}
	return nil
}
