package userprod

// Stats is the state of a Producer and of its ring. Positions and sizes are in bytes.
type Stats struct {
	// ConsumerPos is where the kernel drains next, ProducerPos the end of what is published.
	ConsumerPos, ProducerPos uint64
	// Free is the size of the ring less their distance. Unpublished samples of a Batch count
	// as free.
	Free uint64
	// Waits counts the sleeps for room, Late those that [Options].Timer ended: the kernel
	// had made room without waking the producer.
	Waits, Late uint64

	// Abandoned counts the samples that New discarded because their producer died before it
	// committed them.
	Abandoned int
	// Mended is the fault that New repaired, an error matching [ErrCorrupt], or nil. Lost
	// is how many bytes were discarded for it, headers included.
	Mended error
	Lost   uint64
}

// Stats returns a snapshot. It does not wait for a Batch. Errors: [os.ErrClosed], and the
// [ErrCorrupt] or [ErrBusy] that other calls fail with.
func (p *Producer) Stats() (Stats, error) {
	s := Stats{
		// consumer_pos first: producer_pos never lies behind it.
		ConsumerPos: uint64(p.pos.ConsumerPos()),
		ProducerPos: uint64(p.pos.ProducerPos()),
		Waits:       p.waits.Load(),
		Late:        p.late.Load(),
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
