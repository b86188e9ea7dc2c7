package userprod

import (
	"context"
	"errors"

	"github.com/rbtool/rbtool/internal/ring"
)

// Errors of calls on a Batch that cannot write.
var (
	errEnded   = errors.New("write ring: batch has ended")
	errLooping = errors.New("write ring: batch is in a loop over Samples")
)

// Batch writes a series of samples, from [Producer.Batch]. The kernel sees a sample only when
// it is complete and published, so none is ever busy. A Batch must be used by one goroutine
// and ended.
//
//	b, err := p.Batch(ctx)
//	if err != nil {
//		return err
//	}
//	defer b.End()
//	for _, c := range commands {
//		room, err := b.Next(ctx, size(c))
//		if err != nil {
//			return err
//		}
//		if err := encode(room, c); err != nil {
//			b.Drop()
//			return err
//		}
//	}
//	return b.End()
type Batch struct {
	_ noCopy
	p *Producer // nil after End

	away bool // does not have the ring; the next call takes it

	// The remaining room, as contiguous memory.
	win      ring.Window
	base     ring.Pos // position where the window begins
	off      uint64   // in the window: where the next sample begins
	last     uint64   // in the window: where the sample of the last Next begins, or off
	room     uint64   // bytes of the window, 0 in a loop over Samples
	max      uint64   // p.max
	looping  bool     // in a loop over Samples
	loopRoom uint64   // bytes of the window in that loop
	err      error    // that ended the last loop
}

// noCopy makes vet report copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Batch gives the ring to the calling goroutine until [Batch.End]. Meanwhile other goroutines
// wait in all calls except those of Sample, Stats and Close. A Batch is the fastest way to
// produce, even if it publishes each sample by itself.
//
// Batch waits for another goroutine's Batch to end, until ctx is done or Close. Errors are
// that of ctx and [os.ErrClosed].
func (p *Producer) Batch(ctx context.Context) (*Batch, error) {
	// Inlined, so that a Batch need not be on the heap.
	b := &Batch{p: p, away: true}
	return b, b.take(ctx)
}

// take takes the ring for a batch that does not have it.
func (b *Batch) take(ctx context.Context) error {
	if err := b.p.mu.LockLong(ctx); err != nil {
		return err
	}
	b.away, b.base, b.max = false, b.p.head, b.p.max
	return nil
}

// holds reports whether the batch has the ring and may write.
func (b *Batch) holds() bool { return b.p != nil && !b.looping && !b.away }

// hold takes the ring if the batch does not have it, and returns why the batch may not write.
func (b *Batch) hold() error {
	switch {
	case b.p == nil:
		return errEnded
	case b.looping:
		return errLooping
	case b.away:
		return b.take(context.Background())
	}
	return nil
}

// TryNext is [Batch.Next] without the wait for room: it fails with [ErrFull], after which the
// batch can go on.
func (b *Batch) TryNext(n int) ([]byte, error) {
	off := b.off
	end := off + ring.Span(uint32(n))
	if uint64(n) > b.max || end > b.room {
		return b.refill(n)
	}
	b.last, b.off = off, end
	b.win.SetHeader(off, ring.Header(n))
	return b.win.Room(off, uint32(n)), nil
}

// refill is TryNext when the window has no room.
func (b *Batch) refill(n int) ([]byte, error) {
	if err := b.extend(n); err != nil {
		return nil, err
	}
	b.last, b.off = 0, ring.Span(uint32(n))
	b.win.SetHeader(0, ring.Header(n))
	return b.win.Room(0, uint32(n)), nil
}

// extend starts a window at the next sample, with room for one of n bytes.
func (b *Batch) extend(n int) error {
	if err := b.hold(); err != nil {
		return err
	}
	at := b.base + ring.Pos(b.off)
	if err := b.p.room(at, n); err != nil {
		return err
	}
	b.base, b.off, b.last = at, 0, 0
	b.win = b.p.data.Window(b.base)
	b.room = uint64(b.p.limit - b.base)
	return nil
}

// Next returns memory of the ring for a sample of n bytes, with its previous contents. The
// next call of Next, TryNext, Samples, Publish or End completes the sample; do not write to
// it afterwards.
//
// If the ring is full, Next publishes the complete samples and waits for room until ctx is
// done or Close; meanwhile other goroutines can write. After an error of ctx the batch can go
// on: its next call waits for the ring as [Producer.Batch] does. Other errors are those of
// [Producer.Reserve].
func (b *Batch) Next(ctx context.Context, n int) ([]byte, error) {
	for {
		if b.away {
			if err := b.take(ctx); err != nil {
				return nil, err
			}
		}
		buf, err := b.TryNext(n)
		if err != ErrFull {
			return buf, err
		}
		if err := b.await(ctx, n); err != nil {
			return nil, err
		}
	}
}

// await publishes the complete samples and waits for room for one of n bytes, without the
// ring.
func (b *Batch) await(ctx context.Context, n int) error {
	p := b.p
	err := b.End()
	*b = Batch{p: p, away: true}
	if err != nil {
		return err
	}
	return p.awaitRoom(ctx, n)
}

// Drop drops the sample of the last Next, unless it was published. Its room is reused.
func (b *Batch) Drop() {
	if !b.looping {
		b.off = b.last
	}
}

// Publish makes the samples so far visible to the kernel. Errors: [ErrCorrupt], [ErrBusy] if
// the ring was stolen, [os.ErrClosed].
func (b *Batch) Publish() error {
	if !b.holds() { // inlined, unlike hold
		if err := b.hold(); err != nil {
			return err
		}
	}
	if !b.p.publish(b.base + ring.Pos(b.off)) {
		return b.p.unpublished()
	}
	b.last = b.off
	return nil
}

// End publishes the samples so far, including that of the last Next, and gives the ring back
// to the other goroutines. Errors are those of Publish. A second End does nothing.
func (b *Batch) End() error {
	if b.p == nil {
		return nil
	}
	p := b.p
	if b.looping { // the loop body panicked: drop what the loop has not published
		b.looping, b.off = false, b.base.To(p.head)
	}
	var err error
	if b.away {
		*b = Batch{}
		return nil
	}
	if b.base+ring.Pos(b.off) != p.head {
		err = b.Publish()
	}
	*b = Batch{}
	p.mu.UnlockLong()
	return err
}
