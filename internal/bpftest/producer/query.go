package producer

import (
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Query has the results of bpf_ringbuf_query for a ring (kernel/bpf/ringbuf.c). They are read one
// after another, so they may not belong to one moment.
type Query struct {
	AvailData uint64 // bytes not yet consumed, headers included
	RingSize  uint64 // bytes
	ConsPos   uint64
	ProdPos   uint64
	// OverwritePos is the position of the oldest record that a ring in overwrite mode still has. It
	// is 0 before the first record is overwritten, and on kernels without the mode.
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
