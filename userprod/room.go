package userprod

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/ring"
)

// lacks reports whether a sample of n bytes cannot be put at head without looking
// further. The caller holds mu.
func (p *Producer) lacks(n int) bool {
	return uint64(n) > p.max || ring.Span(uint32(n)) > p.limit-p.head || p.failed.Load() != nil
}

// room looks whether a sample of n bytes fits at head. The caller holds mu.
func (p *Producer) room(n int) error {
	if err := p.failure(); err != nil {
		return err
	}
	if uint64(n) > p.max {
		return fmt.Errorf("%w: %d bytes, the ring takes %d at most", ErrTooLarge, n, p.max)
	}
	// Partner: the smp_store_release of consumer_pos in
	// __bpf_user_ringbuf_sample_release. Below it the kernel has read everything.
	cons := p.mem.ConsumerPos()
	if p.head-cons > p.size {
		return p.corrupt("consumer position %d, and written up to %d in a ring of %d bytes", cons, p.head, p.size)
	}
	p.limit = cons + p.size
	if ring.Span(uint32(n)) <= p.limit-p.head {
		return nil
	}
	if err := p.checkHead(cons); err != nil {
		return err
	}
	return ErrFull
}

// checkHead looks whether the kernel can go on at cons, where it stopped. The
// caller holds mu: nobody moves head.
func (p *Producer) checkHead(cons uint64) error {
	prod := p.mem.ProducerPos()
	if p.head-prod > p.head-p.low || prod%8 != 0 {
		return p.moved(prod, p.head)
	}
	if cons == prod {
		return nil
	}
	t := p.data.Tagged(cons)
	if fault := faultAt(t.Header(), cons, prod, p.size); fault != nil {
		return p.fail(fmt.Errorf("write ring: %w", fault))
	}
	if t.Header().Busy() && !t.Header().Discarded() && t.Tag() != tagOf(cons) {
		return p.corrupt("a sample at position %d is BUSY that is not reserved", cons)
	}
	return nil
}

// moved is the error of a producer_pos that should be between low and high.
func (p *Producer) moved(prod, high uint64) error {
	if p.low == high {
		return p.corrupt("producer position %d, which was %d", prod, high)
	}
	return p.corrupt("producer position %d, which was between %d and %d", prod, p.low, high)
}

func (p *Producer) corrupt(format string, args ...any) error {
	return p.fail(fmt.Errorf("write ring: %w: "+format, append([]any{ErrCorrupt}, args...)...))
}

// tagOf is what lies behind the header of a reserved sample at pos. It tells the
// sample from those of other laps around the ring: positions with equal tags are 32 GiB
// apart.
func tagOf(pos uint64) uint32 { return uint32(pos / 8) }
