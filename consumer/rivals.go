package consumer

import "github.com/rbtool/rbtool/internal/ring"

// rivals are the other consumers that may move consumer_pos while this Reader reads: of a ring that
// it has claimed, or that it shares.
//
// A Reader checks its claim and then publishes. If it is preempted and robbed between the two, it
// still moves consumer_pos when it continues: forward, and only once, because it checks the claim
// again before it next publishes. Positions only grow, so the compare-and-swap of the robbed Reader
// fails once the thief has published. Until then the robbed Reader may move consumer_pos past
// records that the thief is reading, and the producer may overwrite them. So until the thief has
// published, it hands out copies, proves each copy by consumer_pos loaded after the copy, and
// resumes at the position to which the robbed Reader moves consumer_pos.
type rivals int

const (
	noRivals rivals = iota
	// robbed: the previous holder of the claim, until this Reader has published.
	robbed
	// foreign: a consumer without a claim, such as libbpf or a shared Reader, at any time.
	foreign
)

// rivalTries is how often one call tries again because consumer_pos has moved.
const rivalTries = 8

// follow moves consumer_pos to the position to after a rival has moved it. If the rival has moved
// it to or beyond that position, the records before it are consumed, and this Reader resumes there.
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
