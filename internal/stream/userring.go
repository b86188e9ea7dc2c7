package stream

import (
	"context"
	"fmt"

	"github.com/rbtool/rbtool/userprod"
)

// UserRing is a Sink that writes each record as a sample into a user ring buffer. It waits while the
// ring is full.
type UserRing struct{ batch *userprod.Batch }

// NewUserRing returns a Sink into the ring of p. It waits until p is unused or ctx is done. No other
// goroutine can use p until Close is called.
func NewUserRing(ctx context.Context, p *userprod.Producer) (*UserRing, error) {
	batch, err := p.Batch(ctx)
	if err != nil {
		return nil, err
	}
	return &UserRing{batch}, nil
}

// Append implements [Sink].
func (u *UserRing) Append(ctx context.Context, rec *Record) error {
	sample, err := u.batch.Next(ctx, len(rec.Data))
	if err != nil {
		return fmt.Errorf("record at position %d: %w", rec.Pos, err)
	}
	copy(sample, rec.Data)
	return nil
}

// Flush implements [Sink]. It publishes the samples to the kernel.
func (u *UserRing) Flush() error { return u.batch.Publish() }

// Close publishes the samples. The Producer stays open.
func (u *UserRing) Close() error { return u.batch.End() }
