package consumer

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// Diagnosis describes the state of a ring.
type Diagnosis struct {
	ConsumerPos, ProducerPos uint64 // in bytes
	// Fault is nil if the ring is consistent. [Options].Mend repairs it.
	Fault *Fault
	// Holder is the process that has claimed the ring, by its pid in the initial pid
	// namespace, 0 if none has. HolderAlive says that it lives, or may live.
	Holder      uint32
	HolderAlive bool
}

// Diagnose inspects m, a map of type RingBuf, without changing it. Others may consume it.
func Diagnose(m *ebpf.Map) (Diagnosis, error) {
	if m.Type() != ebpf.RingBuf {
		return Diagnosis{}, fmt.Errorf("diagnose ring %s: map is a %s, not a RingBuf", m, m.Type())
	}
	mem, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return Diagnosis{}, fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	d := diagnose(mem, m.Flags()&ring.FlagOverwrite != 0)
	if err := mem.Unmap(); err != nil {
		return Diagnosis{}, fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	return d, nil
}

func diagnose(mem *ring.Mapping, overwrite bool) Diagnosis {
	var d Diagnosis
	// A consumer that moves between the loads makes the ring look inconsistent: retry.
	for range rivalTries {
		d.ConsumerPos, d.ProducerPos = mem.ConsumerPos(), mem.ProducerPos()
		d.Fault = faultOf(mem, d.ConsumerPos, d.ProducerPos, overwrite)
		if d.Fault == nil || mem.ConsumerPos() == d.ConsumerPos {
			break
		}
	}
	holder := claim.ID(mem.ConsumerClaim().Load())
	d.Holder, d.HolderAlive = holder.PID(), holder.State() != claim.Gone
	return d
}
