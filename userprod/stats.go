package userprod

// Stats is the state of a Producer and of its ring. Positions and sizes are in bytes.
type Stats struct {
	// ConsumerPos is the position at which the kernel drains next, ProducerPos the end of the
	// published samples.
	ConsumerPos, ProducerPos uint64
	// Free is the size of the ring less the distance of the two positions. Unpublished samples of a
	// Batch count as free.
	Free uint64
	// Waits counts the sleeps for room. Late counts those that [Options].Timer ended: the kernel
	// had freed room without waking the producer.
	Waits, Late uint64

	// Refused is what the ring has refused since its creation, counted by all its Producers.
	Refused Refused

	// Abandoned counts the samples that New discarded because their producer died before it
	// committed them.
	Abandoned int
	// Mended is the fault that New repaired, an error matching [ErrCorrupt], or nil. Lost is the
	// number of bytes, headers included, that the repair discarded.
	Mended error
	Lost   uint64
}

// Stats returns a snapshot. It does not wait for the end of a Batch. The error matches
// [os.ErrClosed] after Close, or [ErrCorrupt] or [ErrBusy] once other calls fail with it.
func (p *Producer) Stats() (Stats, error) {
	s := Stats{
		// consumer_pos is loaded first, so producer_pos is not behind it.
		ConsumerPos: uint64(p.pos.ConsumerPos()),
		ProducerPos: uint64(p.pos.ProducerPos()),
		Waits:       p.waits.Load(),
		Late:        p.late.Load(),
		Refused:     p.refused(),
		Abandoned:   p.found.Abandoned,
		Lost:        p.found.Lost,
	}
	if p.found.Mended != nil {
		s.Mended = p.found.Mended
	}
	s.Free = p.size - min(s.ProducerPos-s.ConsumerPos, p.size)
	if err := p.failure(); err != nil {
		return Stats{}, err
	}
	return s, nil
}
