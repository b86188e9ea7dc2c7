package consumer

import "fmt"

// publish tells the kernel that everything below pos is consumed, except for
// the last hold bytes. It is a full barrier: a record committed later is either
// seen by the next look at the ring or followed by a wakeup.
func (r *Reader) publish(hold uint64) error {
	to := r.pos - hold
	if to == r.published {
		return nil
	}
	err := r.stolen()
	if err == nil && r.opts.BeforePublish != nil {
		if err = r.opts.BeforePublish(); err == nil {
			err = r.stolen() // the callback may have taken long
		}
	}
	if err == nil {
		err = r.move(to)
	}
	if err != nil {
		return fmt.Errorf("publish position %d: %w", to, err)
	}
	r.count()
	return nil
}

// move moves consumer_pos from where this Reader left it. It never moves back: below
// its value the producer has written over the records, and would find no room.
func (r *Reader) move(to uint64) error {
	if r.mem.MoveConsumerPos(r.published, to) {
		r.moveDone(to)
		return nil
	}
	if r.rivals != noRivals && r.holds() {
		return r.follow(to)
	}
	return r.moved(r.mem.ConsumerPos())
}

// moveDone notes that this Reader has moved consumer_pos to a position.
func (r *Reader) moveDone(to uint64) {
	r.published = to
	if r.rivals == robbed {
		r.rivals = noRivals
	}
}

// moved says that consumer_pos is pos, though this Reader is the ring's only consumer.
func (r *Reader) moved(pos uint64) error {
	return r.corrupt("consumer position moved from %d to %d: another process consumes the ring", r.published, pos)
}

// count brings the counters up to date with what takeNext took.
func (r *Reader) count() {
	if r.taken.records > 0 {
		r.counts.records.Add(r.taken.records)
		r.counts.bytes.Add(r.taken.bytes)
		r.taken.records, r.taken.bytes = 0, 0
	}
}
