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

// move moves consumer_pos from where this Reader left it, never back: the producer has
// overwritten the records below it, and would find no room.
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

// moveDone records that this Reader has moved consumer_pos.
func (r *Reader) moveDone(to uint64) {
	r.published = to
	if r.rivals == robbed {
		r.rivals = noRivals
	}
}

// moved returns the error of a consumer_pos that another process moved to pos.
func (r *Reader) moved(pos uint64) error {
	return r.corrupt("consumer position moved from %d to %d: another process consumes the ring", r.published, pos)
}

// count adds the records that takeNext took to the counters.
func (r *Reader) count() {
	if r.taken.records > 0 {
		r.counts.records.Add(r.taken.records)
		r.counts.bytes.Add(r.taken.bytes)
		r.taken.records, r.taken.bytes = 0, 0
	}
}
