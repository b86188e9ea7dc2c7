package drain

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Counts say what runs did, since the Drain was loaded.
type Counts struct {
	Runs                      uint64
	Samples, Bytes            uint64 // taken out of the user ring, discarded ones not included
	Delivered, DeliveredBytes uint64 // written to the target
	TooLarge                  uint64 // samples lost: the target can never hold them
	Full                      uint64 // runs that ended for want of room in the target
	Empty                     uint64 // runs that found nothing
	Contended                 uint64 // runs that did not begin: another one of this Drain was under way
	Busy                      uint64 // the kernel said -EBUSY: another program drained the user ring
	Invalid                   uint64 // -EINVAL: the producer position is not a multiple of 8, or a sample reaches beyond it
	TooBig                    uint64 // -E2BIG: a sample is larger than the ring or than 16 MiB - 1
	Failed                    uint64 // any other error
}

// Stats are the counts and what is under way.
type Stats struct {
	Counts               // the sum over the CPUs
	PerCPU []Counts      // by CPU
	Aside  bool          // a sample waits for room in the target
	Len    uint32        // its bytes
	Every  time.Duration // the interval of the timer; 0: it is not started
}

// Stats reads the counts. While runs are under way they are no snapshot of one
// moment.
func (d *Drain) Stats() (Stats, error) {
	if err := d.use(); err != nil {
		return Stats{}, fmt.Errorf("read counts of drain: %w", err)
	}
	defer d.mu.Unlock()
	s, err := d.stats()
	if err != nil {
		return Stats{}, fmt.Errorf("read counts of drain: %w", err)
	}
	return s, nil
}

func (d *Drain) stats() (Stats, error) {
	var perCPU []bpfDrainCounts
	if err := d.maps[bpfMapCounts].Lookup(uint32(0), &perCPU); err != nil {
		return Stats{}, err
	}
	state, err := d.state()
	if err != nil {
		return Stats{}, err
	}
	s := Stats{Aside: state.Aside, Every: time.Duration(state.Every)}
	if s.Aside {
		s.Len = state.Len
	}
	for _, c := range perCPU {
		counts := Counts{
			Runs: c.Runs, Samples: c.Samples, Bytes: c.Bytes,
			Delivered: c.Delivered, DeliveredBytes: c.DeliveredBytes,
			TooLarge: c.TooLarge, Full: c.Full, Empty: c.Empty, Contended: c.Contended,
			Busy: c.Busy, Invalid: c.Invalid, TooBig: c.TooBig, Failed: c.Failed,
		}
		s.PerCPU = append(s.PerCPU, counts)
		s.add(counts)
	}
	return s, nil
}

func (c *Counts) add(o Counts) {
	c.Runs += o.Runs
	c.Samples += o.Samples
	c.Bytes += o.Bytes
	c.Delivered += o.Delivered
	c.DeliveredBytes += o.DeliveredBytes
	c.TooLarge += o.TooLarge
	c.Full += o.Full
	c.Empty += o.Empty
	c.Contended += o.Contended
	c.Busy += o.Busy
	c.Invalid += o.Invalid
	c.TooBig += o.TooBig
	c.Failed += o.Failed
}

// state reads the programs' globals.
func (d *Drain) state() (bpfDrainState, error) {
	var s bpfDrainState
	raw, err := d.maps[stateSection].LookupBytes(uint32(0))
	if err != nil {
		return s, err
	}
	// It is the section's only variable.
	_, err = binary.Decode(raw, binary.LittleEndian, &s)
	return s, err
}
