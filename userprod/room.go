package userprod

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/userring"
)

// lacks reports whether the caller must call room before it puts a sample of n bytes at head. The
// caller holds mu.
func (p *Producer) lacks(n int) bool {
	return uint64(n) > p.max || ring.Span(uint32(n)) > uint64(p.limit-p.head)
}

// room checks that a sample of n bytes fits at the position at, which is head or, in a Batch, after
// head. The caller holds mu.
func (p *Producer) room(at ring.Pos, n int) error {
	if err := p.failure(); err != nil {
		return err
	}
	if uint64(n) > p.max {
		return fmt.Errorf("%w: %d bytes, the largest sample is %d bytes", ErrTooLarge, n, p.max)
	}
	// Partner: the smp_store_release of consumer_pos in __bpf_user_ringbuf_sample_release. The
	// kernel has read everything below the position (litmus sample-reuse).
	cons := p.pos.ConsumerPos()
	if uint64(at-cons) > p.size {
		return p.corrupt("consumer position %d is inconsistent: samples were written up to %d in a ring of %d bytes", cons, at, p.size)
	}
	p.limit = cons + ring.Pos(p.size)
	if ring.Span(uint32(n)) <= uint64(p.limit-at) {
		return nil
	}
	if err := p.checkHead(cons); err != nil {
		return err
	}
	p.noteFull(cons)
	return ErrFull
}

// checkHead checks that the kernel can continue to drain at cons. The caller holds mu, so head does
// not move.
func (p *Producer) checkHead(cons ring.Pos) error {
	prod := p.pos.ProducerPos()
	if prod != p.head {
		return p.moved(prod)
	}
	if cons == prod {
		return nil
	}
	t := p.data.Tagged(cons)
	if fault := userring.HeaderFault(t.Header(), cons, prod, p.size); fault != nil {
		return p.spoiled(fault)
	}
	if t.Header().State(ring.User) == ring.Busy && t.Tag() != tagOf(cons) {
		return p.corrupt("sample at position %d is busy, but was not reserved", cons)
	}
	return nil
}

// publish moves producer_pos to end. If it returns false, unpublished returns the error. The caller
// holds mu.
func (p *Producer) publish(end ring.Pos) bool {
	return p.unmoved() && p.holds() && p.advance(end)
}

// unmoved reports whether no other process has moved producer_pos. The caller holds mu.
func (p *Producer) unmoved() bool { return p.pos.ProducerPos() == p.head }

// advance is publish for a caller that has checked unmoved and holds.
func (p *Producer) advance(end ring.Pos) bool {
	p.pos.SetProducerPos(end)
	p.head = end
	// failed is loaded last. Close stores failed before it retires the mapping. So if the store
	// went to private memory, advance returns false.
	return p.failed.Load() == nil
}

func (p *Producer) unpublished() error { return p.moved(p.pos.ProducerPos()) }

// moved returns the error with which all calls fail, or else the error for a producer_pos that
// another process has moved to prod. The caller holds mu.
func (p *Producer) moved(prod ring.Pos) error {
	if err := p.failure(); err != nil {
		return err
	}
	return p.corrupt("producer position moved from %d to %d: another process is writing to the ring", p.head, prod)
}

func (p *Producer) corrupt(format string, args ...any) error {
	return p.spoiled(fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...))
}

// spoiled makes every later call fail with err, or with a [*BusyError] if the ring was stolen: then
// the thief has moved the positions.
func (p *Producer) spoiled(err error) error {
	if holder := claim.ID(p.pos.ProducerClaim().Load()); holder != p.claim {
		err = &BusyError{PID: holder.PID(), Stolen: true}
	}
	return p.fail(fmt.Errorf("write ring: %w", err))
}

// tagOf returns the tag of a sample reserved at pos, the second word of its header. The tag
// distinguishes the sample from samples at the same offset in other laps of the ring: positions
// with equal tags are 32 GiB apart.
func tagOf(pos ring.Pos) uint32 { return uint32(pos / 8) }
