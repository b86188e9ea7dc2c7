package consumer

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
)

// publish moves consumer_pos to r.pos - hold. It is a full barrier: a record committed later is
// either seen by the next load of its header or followed by a wakeup (litmus commit-sleep).
func (r *Reader) publish(hold uint64) error {
	to := r.pos - ring.Pos(hold)
	if to == r.published {
		return nil
	}
	order.LoadBarrier() // the records were read before: litmus copy-robbed
	err := r.stolen()
	if err == nil && r.opts.BeforePublish != nil {
		if err = r.opts.BeforePublish(); err == nil {
			err = r.stolen() // it may have been stolen during the callback
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

// move moves consumer_pos to the position to, if it is still where this Reader left it. It never
// moves consumer_pos back, since the producer may have overwritten the records below it.
func (r *Reader) move(to ring.Pos) error {
	if r.mem.MoveConsumerPos(r.published, to) {
		r.moveDone(to)
		return nil
	}
	if r.rivals != noRivals && r.holds() {
		return r.follow(to)
	}
	return r.moved(r.mem.ConsumerPos())
}

// moveDone notes that this Reader has moved consumer_pos to the position to.
func (r *Reader) moveDone(to ring.Pos) {
	r.published = to
	if r.rivals == robbed {
		r.rivals = noRivals
	}
}

// moved returns the error for a consumer_pos that another process moved to pos.
func (r *Reader) moved(pos ring.Pos) error {
	return r.corrupt("consumer position moved from %d to %d: another process consumes the ring", r.published, pos)
}

// count adds the records of takeNext, counted in r.taken, to the counters.
func (r *Reader) count() {
	if r.taken.records > 0 {
		r.counts.records.Add(r.taken.records)
		r.counts.bytes.Add(r.taken.bytes)
		r.taken.records, r.taken.bytes = 0, 0
	}
}
