package drain

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Counts tells what all runs did since the Drain was loaded.
type Counts struct {
	Runs                      uint64
	Samples, Bytes            uint64 // taken out of the user ring, without discarded samples and headers
	Delivered, DeliveredBytes uint64 // written to the target
	TooLarge                  uint64 // samples dropped: longer than MaxSample
	Full                      uint64 // runs that ended because the target was full
	Empty                     uint64 // runs that found no sample
	Contended                 uint64 // runs that did nothing: another run of this Drain was going on
	Busy                      uint64 // runs that failed with -EBUSY: another program drained the user ring
	Invalid                   uint64 // runs that failed with -EINVAL: the producer position is not a multiple of 8, or a sample reaches beyond it
	TooBig                    uint64 // runs that failed with -E2BIG: a sample is larger than the ring or than 16 MiB - 1
	Failed                    uint64 // runs that failed with another error
}

// Stats describes a Drain at work.
type Stats struct {
	Counts               // sums over all CPUs
	PerCPU []Counts      // by the number of the CPU on which the runs were
	Aside  bool          // whether a sample is kept aside because the target had no room
	Len    uint32        // length of that sample, in bytes
	Every  time.Duration // interval of the timer; 0 if it is stopped
}

// Stats reads the counts and the state of the Drain. It does not stop runs, so the values may
// belong to different moments.
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

// state reads the global variables of the programs.
func (d *Drain) state() (bpfDrainState, error) {
	var s bpfDrainState
	raw, err := d.maps[stateSection].LookupBytes(uint32(0))
	if err != nil {
		return s, err
	}
	// The section has no other variable than the state.
	_, err = binary.Decode(raw, binary.LittleEndian, &s)
	return s, err
}
