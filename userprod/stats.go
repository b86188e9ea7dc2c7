package userprod

// Stats is what a Producer knows of its ring and has done. Positions and sizes
// are in bytes.
type Stats struct {
	// ConsumerPos is up to where the kernel has drained, ProducerPos up to where
	// it may look.
	ConsumerPos, ProducerPos uint64
	// Free is the size of the ring less their distance. What is written in a
	// Batch but not published counts as free.
	Free uint64
	// Waits counts the sleeps for room; Late those that the slow timer alone
	// ended: there was room, and nobody had woken the producer.
	Waits, Late uint64
}

// Stats returns the state of the ring and what was done so far. It does not wait
// for a Batch. After Close it returns an error that is [os.ErrClosed].
func (p *Producer) Stats() (Stats, error) {
	s := Stats{
		// Loaded first: producer_pos never lies behind it then.
		ConsumerPos: p.pos.ConsumerPos(),
		ProducerPos: p.pos.ProducerPos(),
		Waits:       p.waits.Load(),
		Late:        p.late.Load(),
	}
	s.Free = p.size - min(s.ProducerPos-s.ConsumerPos, p.size)
	if err := p.failure(); err != nil {
		return Stats{}, err
	}
	return s, nil
}
