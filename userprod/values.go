package userprod

import (
	"context"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/rbtool/rbtool/internal/ring"
)

// WriteAll writes each value as one sample, in order, and publishes them together. It
// returns how many were written; the error is [ErrFull] when not all fit, or one of
// [Producer.Reserve]. T is written as it lies in memory, padding included,
// and must not hold pointers.
func WriteAll[T any](p *Producer, values []T) (int, error) {
	if writeFew(p, values) {
		return len(values), nil
	}
	b := p.Batch()
	n, err := Append(&b, values)
	if e := b.End(); e != nil {
		return 0, e
	}
	return n, err
}

// writeFew is WriteAll for values that fit into what is known to be free. Where it is
// not done nothing of it was published, or the Producer has failed, as the caller finds out.
func writeFew[T any](p *Producer, values []T) (done bool) {
	size := unsafe.Sizeof(*new(T))
	if uintptr(len(values)) > copyLocked/(size+ring.HeaderSize) {
		return false
	}
	total := uint64(len(values)) * ring.Span(uint32(size))
	if p.mu.Lock(context.Background()) != nil {
		return false
	}
	if _, plain := p.plain.(*T); plain && total <= p.limit-p.head {
		ring.Fill(p.data.Window(p.head), values)
		done = p.publish(p.head + total)
	}
	p.mu.Unlock()
	return done
}

// Append writes each value as one sample of b, as [WriteAll] does without publishing.
func Append[T any](b *Batch, values []T) (int, error) {
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

// checkPlain returns an error if T can hold pointers. A Producer remembers the
// last type that cannot. The caller holds mu.
func checkPlain[T any](p *Producer) error {
	if _, plain := p.plain.(*T); plain {
		return nil
	}
	if t := reflect.TypeFor[T](); hasPointers(t) {
		return fmt.Errorf("write ring: values of type %s hold pointers", t)
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
