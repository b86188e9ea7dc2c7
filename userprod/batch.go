package userprod

import (
	"context"
	"errors"

	"github.com/rbtool/rbtool/internal/ring"
)

// Errors of methods of a Batch that cannot write.
var (
	errEnded   = errors.New("write ring: batch has ended already")
	errLooping = errors.New("write ring: batch is used by a loop over its Samples")
)

// Batch writes a series of samples. [Producer.Batch] begins one. The kernel sees a sample only when
// it is complete and published, so no sample is ever busy. Only one goroutine may use a Batch, and
// it must call End.
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

	away bool // the Batch does not have the ring; its next call takes it

	// The remaining room, as contiguous memory: the window.
	win      ring.Window
	base     ring.Pos // position where the window begins
	off      uint64   // offset in the window at which the next sample begins
	last     uint64   // offset in the window at which the sample of the last Next begins; off if Drop has nothing to drop
	room     uint64   // bytes of the window; 0 in a loop over Samples
	max      uint64   // p.max
	looping  bool     // in a loop over Samples
	loopRoom uint64   // bytes of the window in that loop
	err      error    // error that ended the last loop
}

// noCopy makes go vet report copies of a Batch.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Batch gives the ring to the calling goroutine until [Batch.End]. In the meantime other goroutines
// wait in all calls except the methods of Sample, Stats and Close. A Batch is the fastest way to
// produce, even if each sample is published by itself.
//
// If another goroutine has a Batch, the call waits for its end, until ctx is done or the Producer
// is closed. The error is that of ctx or matches [os.ErrClosed]. A call that need not wait
// succeeds; if the Producer is closed, or the ring is corrupt or stolen, calls on the Batch fail.
//
// The goroutine that has a Batch must not begin another, nor call methods of the Producer that
// write: it would wait for itself.
func (p *Producer) Batch(ctx context.Context) (*Batch, error) {
	// This method is inlined, so the Batch need not be on the heap.
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

// hold takes the ring if the batch does not have it. It returns an error if the batch may not
// write.
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

// TryNext is [Batch.Next] without the wait for room: if there is none, it fails with [ErrFull], and
// the batch can continue.
func (b *Batch) TryNext(n int) ([]byte, error) { return b.next(n, false) }

// next is TryNext. waits says that the caller waits for room if there is none, so that the sample is
// not refused yet.
func (b *Batch) next(n int, waits bool) ([]byte, error) {
	off := b.off
	end := off + ring.Span(uint32(n))
	if uint64(n) > b.max || end > b.room {
		return b.refill(n, waits)
	}
	b.last, b.off = off, end
	b.win.SetHeader(off, ring.Header(n))
	return b.win.Room(off, uint32(n)), nil
}

// refill is next for the case that the window has no room.
func (b *Batch) refill(n int, waits bool) ([]byte, error) {
	if err := b.extend(n); err != nil {
		if !waits && err == ErrFull {
			b.p.countRefused(err, 1, n)
		}
		return nil, err
	}
	b.last, b.off = 0, ring.Span(uint32(n))
	b.win.SetHeader(0, ring.Header(n))
	return b.win.Room(0, uint32(n)), nil
}

// extend starts a new window at the next sample, with room for a sample of n bytes.
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

// Next returns memory of the ring for a sample of n bytes. The memory has its previous contents.
// The next call of Next, TryNext, Publish or End, or loop over Samples, completes the sample; do
// not write to the memory after that. It is valid while the Producer is reachable.
//
// If the ring is full, Next publishes the complete samples and waits for room until ctx is done or
// the Producer is closed; in the meantime other goroutines can write. After an error of ctx the
// batch can continue: its next call waits for the ring as [Producer.Batch] does. Other errors are
// those of [Producer.Reserve].
func (b *Batch) Next(ctx context.Context, n int) ([]byte, error) {
	for {
		if b.away {
			if err := b.take(ctx); err != nil {
				return nil, err
			}
		}
		buf, err := b.next(n, true)
		if err != ErrFull {
			return buf, err
		}
		if err := b.await(ctx, n, 1); err != nil {
			return nil, err
		}
	}
}

// await publishes the complete samples, gives the ring back, and waits for room for a sample of n
// bytes. samples is the number of samples that are refused if ctx ends the wait.
func (b *Batch) await(ctx context.Context, n, samples int) error {
	p := b.p
	err := b.End()
	*b = Batch{p: p, away: true}
	if err != nil {
		return err
	}
	return p.awaitRoom(ctx, n, samples)
}

// Drop drops the sample of the last Next or TryNext, unless it was published. The next sample uses
// its room.
func (b *Batch) Drop() {
	if !b.looping {
		b.off = b.last
	}
}

// Publish makes the samples so far visible to the kernel. The error matches [ErrCorrupt]; [ErrBusy]
// if the ring was stolen; or [os.ErrClosed].
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

// End publishes the samples so far, including that of the last Next, and gives the ring back. It
// gives the ring back even if it fails. Its errors are those of Publish. A second End does nothing.
// After End, Next, TryNext and Publish fail.
func (b *Batch) End() error {
	if b.p == nil {
		return nil
	}
	p := b.p
	if b.looping { // the loop body called End or panicked: drop what the loop has not published
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
