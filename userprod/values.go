package userprod

import (
	"context"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/rbtool/rbtool/internal/ring"
)

// WriteAll writes each value as one sample, in order, and publishes as many at once as fit. A
// sample is the memory of the value, padding included. If T can contain pointers, WriteAll fails
// and writes nothing.
//
// WriteAll waits for room, and fails, as [Producer.Reserve] does. It returns how many values were
// written, after an error too: values[:written]. If it waits, samples of other goroutines may come
// between its values.
func WriteAll[T any](ctx context.Context, p *Producer, values []T) (written int, err error) {
	size := int(unsafe.Sizeof(*new(T)))
	for {
		if err := ctx.Err(); err != nil {
			return written, err
		}
		n, err := writeAll(ctx, p, values[written:], true)
		if written += n; err != ErrFull {
			return written, err
		}
		if err := p.awaitRoom(ctx, size, len(values)-written); err != nil {
			return written, err
		}
	}
}

// TryWriteAll is [WriteAll] without the wait for room: if not all values fit, it writes the values
// that fit and fails with [ErrFull]. It still waits for the end of the Batch of another goroutine.
func TryWriteAll[T any](p *Producer, values []T) (written int, err error) {
	return writeAll(context.Background(), p, values, false)
}

// writeAll is TryWriteAll, but waits for the end of a Batch of another goroutine only until ctx is
// done. waits says that the caller then waits for room, so that the values left are not refused yet.
func writeAll[T any](ctx context.Context, p *Producer, values []T, waits bool) (written int, err error) {
	if writeFew(ctx, p, values) {
		return len(values), nil
	}
	return writeMany(ctx, p, values, waits)
}

// writeMany is writeAll for values that writeFew does not write.
func writeMany[T any](ctx context.Context, p *Producer, values []T, waits bool) (written int, err error) {
	b := Batch{p: p, away: true}
	if err := b.take(ctx); err != nil {
		return 0, err
	}
	n, err := appendAll(&b, values)
	if e := b.End(); e != nil {
		return 0, e
	}
	if !waits {
		p.countRefused(err, len(values)-n, int(unsafe.Sizeof(*new(T))))
	}
	return n, err
}

// writeFew is TryWriteAll for values that fit into the room that is known to be free. If it returns
// false, it has published nothing: there is no such room, ctx is done, or the Producer has failed.
func writeFew[T any](ctx context.Context, p *Producer, values []T) (done bool) {
	size := unsafe.Sizeof(*new(T))
	if uintptr(len(values)) > copyLocked/(size+ring.HeaderSize) {
		return false
	}
	total := uint64(len(values)) * ring.Span(uint32(size))
	if p.mu.Lock(ctx) != nil {
		return false
	}
	if _, plain := p.plain.(*T); plain && total <= uint64(p.limit-p.head) {
		ring.Fill(p.data.Window(p.head), values)
		done = p.publish(p.head + ring.Pos(total))
	}
	p.mu.Unlock()
	return done
}

// appendAll writes each value as one sample of b and returns how many fit. If not all fit, the
// error is ErrFull.
func appendAll[T any](b *Batch, values []T) (int, error) {
	if err := b.hold(); err != nil {
		return 0, err
	}
	size := int(unsafe.Sizeof(*new(T)))
	if err := checkPlain[T](b.p); err != nil || len(values) == 0 {
		return 0, err
	}
	if err := b.extend(size); err != nil {
		return 0, err
	}
	span := ring.Span(uint32(size))
	n := min(len(values), int(b.room/span))
	ring.Fill(b.win, values[:n])
	b.off = uint64(n) * span
	b.last = b.off
	if n < len(values) {
		return n, ErrFull
	}
	return n, nil
}

// checkPlain returns an error if T can contain pointers. The Producer remembers the last type that
// cannot. The caller holds mu.
func checkPlain[T any](p *Producer) error {
	if _, plain := p.plain.(*T); plain {
		return nil
	}
	if t := reflect.TypeFor[T](); hasPointers(t) {
		return fmt.Errorf("write ring: values of type %s contain pointers", t)
	}
	p.plain = (*T)(nil)
	return nil
}

func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && hasPointers(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if hasPointers(f.Type) {
				return true
			}
		}
		return false
	}
	return t.Kind() < reflect.Bool || t.Kind() > reflect.Complex128
}
