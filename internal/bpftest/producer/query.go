package producer

import (
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Query has the positions of a ring as the kernel returns them (kernel/bpf/ringbuf.c,
// bpf_ringbuf_query), read one after the other.
type Query struct {
	AvailData uint64 // bytes not yet consumed, headers included
	RingSize  uint64 // bytes
	ConsPos   uint64
	ProdPos   uint64
	// OverwritePos is the oldest record that an overwrite-mode ring still has; 0 before the first
	// overwrite, and if the kernel lacks the mode.
	OverwritePos uint64
}

// Query asks the kernel for the ring's positions. It may be called during a Run.
func (p *Producer) Query() (Query, error) {
	q, err := p.query()
	if err != nil {
		return Query{}, fmt.Errorf("query ring: %w", err)
	}
	return q, nil
}

func (p *Producer) query() (Query, error) {
	prog, err := p.programs.get(variant{name: bpfProgQueryRing})
	if err != nil {
		return Query{}, err
	}
	p.queryMu.Lock()
	defer p.queryMu.Unlock()
	if p.closed.Load() {
		return Query{}, os.ErrClosed
	}
	if _, err := syscall.TestRun(prog); err != nil {
		return Query{}, fmt.Errorf("test run: %w", err)
	}
	q := p.state.getQuery()
	return Query{
		AvailData:    q.AvailData,
		RingSize:     q.RingSize,
		ConsPos:      q.ConsPos,
		ProdPos:      q.ProdPos,
		OverwritePos: q.OverwritePos,
	}, nil
}
