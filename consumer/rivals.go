package consumer

// rivals are the other consumers that may move consumer_pos although this Reader has
// claimed the ring.
//
// A Reader checks its claim, then publishes. If it is preempted and robbed in between, it
// still moves consumer_pos when it resumes: forward, and only once, because it checks
// again before the next time. Positions only grow, so its compare-and-swap fails once
// the thief has published. Until then the producer may overwrite what the thief reads.
// So the thief hands out copies, each proven by consumer_pos loaded after it, and
// follows where the robbed Reader moves it.
type rivals int

const (
	noRivals rivals = iota
	// robbed: an earlier holder of the claim, until this Reader has published.
	robbed
	// foreign: a consumer that does not claim its ring, such as libbpf's, at any time.
	foreign
)

// rivalTries bounds how often consumer_pos may move under one call.
const rivalTries = 8

// follow moves consumer_pos on to a position after a rival has moved it. If the rival moved
// it further, its records are consumed and this Reader goes on from there.
func (r *Reader) follow(to uint64) error {
	var pos uint64
	for range rivalTries {
		pos = r.mem.ConsumerPos()
		if later(pos, to) == pos {
			r.published = pos
			if later(pos, r.pos) != r.pos {
				r.lastSpan = 0
				r.setPos(pos)
			}
			return nil
		}
		if r.mem.MoveConsumerPos(pos, to) {
			r.moveDone(to)
			return nil
		}
	}
	return r.moved(pos)
}

// copyContested continues w on a fresh copy of the records from w.pos on. It returns
// false when the pass is over.
func (r *Reader) copyContested(w *walk) bool {
	for range rivalTries {
		r.skipConsumed(w)
		if int64(w.goal-w.pos) <= 0 {
			return false
		}
		if r.err = r.check(w.pos, w.goal); r.err != nil {
			return false
		}
		r.copyFrom(w)
		// Partner: the smp_load_acquire of consumer_pos in __bpf_ringbuf_reserve. If the
		// copy has any of what a producer wrote over the record, this load sees the
		// position that made room for it.
		r.skipConsumed(w)
		if int64(w.end-w.pos) > 0 {
			r.copy.want = 0
			return true
		}
	}
	return false
}

// skipConsumed moves w past the records that a rival has consumed.
func (r *Reader) skipConsumed(w *walk) {
	if pos := r.mem.ConsumerPos(); int64(pos-w.pos) > 0 {
		w.pos, w.last = pos, 0
	}
}
