package consumer

import "github.com/rbtool/rbtool/internal/ring"

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
	// foreign: a consumer without claims, such as libbpf's or a shared Reader, at any time.
	foreign
)

// rivalTries bounds how often consumer_pos may move under one call.
const rivalTries = 8

// follow moves consumer_pos on to a position after a rival has moved it. If the rival moved
// it further, its records are consumed and this Reader resumes there.
func (r *Reader) follow(to ring.Pos) error {
	var pos ring.Pos
	for range rivalTries {
		pos = r.mem.ConsumerPos()
		if !pos.Before(to) {
			r.published = pos
			if r.pos.Before(pos) {
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
