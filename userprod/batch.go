package userprod

import (
	"context"
	"errors"

	"github.com/rbtool/rbtool/internal/ring"
)

// What a Batch says to calls out of turn.
var (
	errEnded   = errors.New("write ring: batch has ended")
	errLooping = errors.New("write ring: batch is in a loop over its samples")
)

// Batch writes samples one behind the other. Nothing of it is ever BUSY: a sample
// is complete before the kernel sees it. One goroutine may use it; it must not be copied.
//
//	b := p.Batch()
//	defer b.End()
//	for _, c := range commands {
//		buf, err := b.NextWait(ctx, size(c))
//		if err != nil {
//			return err
//		}
//		if err := encode(buf, c); err != nil {
//			b.Drop()
//			return err
//		}
//	}
//	return b.End()
type Batch struct {
	_ noCopy
	p *Producer // nil when it has ended

	away bool // does not hold the ring; the next call takes it

	// The room that is left, as contiguous memory.
	win      ring.Window
	base     uint64 // position where the window begins
	off      uint64 // in the window: where the next sample begins
	last     uint64 // in the window: where the one of the last Next begins, or off
	room     uint64 // bytes of the window
	max      uint64 // p.max
	looping  bool   // in a loop over Samples; nobody else has room then
	loopRoom uint64 // room of the loop
	err      error  // that ended the last one
}

// noCopy makes vet complain of copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Batch gives the ring to the calling goroutine until [Batch.End]. It waits for another
// goroutine's batch to end, or for Close, after which the batch's calls fail. It is the
// fastest way to produce, even if each sample is published by itself. Meanwhile other
// goroutines wait in all calls but those of Sample, Stats and Close.
func (p *Producer) Batch() Batch {
	if p.mu.LockLong(context.Background()) != nil {
		return Batch{p: p, max: p.max, away: true} // its calls fail
	}
	return Batch{p: p, base: p.head, max: p.max}
}

// take takes the ring for a batch that does not hold it.
func (b *Batch) take(ctx context.Context) error {
	if err := b.p.mu.LockLong(ctx); err != nil {
		return err
	}
	b.away, b.base = false, b.p.head
	return nil
}

// holds reports whether the batch has the ring and may write.
func (b *Batch) holds() bool { return b.p != nil && !b.looping && !b.away }

// hold takes the ring if the batch does not hold it, and returns why the batch may not write.
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

// Next returns room for a sample of n bytes: memory of the ring, with what was
// in it before. The sample is complete, and must not be written to any more, when
// Next, Append, Publish or End is called again. Errors are those of [Producer.Reserve];
// after [ErrFull] the batch goes on.
func (b *Batch) Next(n int) ([]byte, error) {
	off := b.off
	end := off + ring.Span(uint32(n))
	if uint64(n) > b.max || end > b.room {
		return b.refill(n)
	}
	b.last, b.off = off, end
	b.win.SetHeader(off, ring.Header(n))
	return b.win.Room(off, uint32(n)), nil
}

// refill looks for more room, and does what Next could not.
func (b *Batch) refill(n int) ([]byte, error) {
	if err := b.extend(n); err != nil {
		return nil, err
	}
	b.last, b.off = 0, ring.Span(uint32(n))
	b.win.SetHeader(0, ring.Header(n))
	return b.win.Room(0, uint32(n)), nil
}

// extend makes a window at the next sample with room for one of n bytes.
func (b *Batch) extend(n int) error {
	if err := b.hold(); err != nil {
		return err
	}
	at := b.base + b.off
	if err := b.p.room(at, n); err != nil {
		return err
	}
	b.base, b.off, b.last = at, 0, 0
	b.win = b.p.data.Window(b.base)
	b.room = b.p.limit - b.base
	return nil
}

// NextWait is Next that, when the ring is full, publishes what is complete and waits for
// room until ctx is done; other goroutines can write then. A batch whose NextWait failed goes
// on: its next call waits for the ring as [Producer.Batch] does.
func (b *Batch) NextWait(ctx context.Context, n int) ([]byte, error) {
	for {
		if b.away {
			if err := b.take(ctx); err != nil {
				return nil, err
			}
		}
		buf, err := b.Next(n)
		if err != ErrFull {
			return buf, err
		}
		p := b.p
		err = b.End()
		*b = Batch{p: p, max: p.max, away: true}
		if err == nil {
			err = p.Wait(ctx, n)
		}
		if err != nil {
			return nil, err
		}
	}
}

// Drop gives up the sample of the last Next, unless it was published. Its room is
// used again.
func (b *Batch) Drop() {
	if !b.looping {
		b.off = b.last
	}
}

// Publish gives the kernel the samples so far. The error is [ErrCorrupt] or [os.ErrClosed].
func (b *Batch) Publish() error {
	if !b.holds() { // inlined, for batches that publish each sample
		if err := b.hold(); err != nil {
			return err
		}
	}
	if !b.p.publish(b.base + b.off) {
		return b.p.unpublished()
	}
	b.last = b.off
	return nil
}

// End publishes the samples so far, that of the last Next included, unless it
// was dropped, and lets the other goroutines have the ring. Errors are those of
// Publish. A second End does nothing.
func (b *Batch) End() error {
	if b.p == nil {
		return nil
	}
	p := b.p
	if b.looping { // a panic in its body, perhaps: what it has not published is given up
		b.looping, b.off = false, uint64(max(int64(p.head-b.base), 0))
	}
	var err error
	if b.away {
		*b = Batch{}
		return nil
	}
	if b.base+b.off != p.head {
		err = b.Publish()
	}
	*b = Batch{}
	p.mu.UnlockLong()
	return err
}
