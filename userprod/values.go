package userprod

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/rbtool/rbtool/internal/ring"
)

// WriteAll writes each value as one sample, in order, and publishes them together. It
// returns how many were written; the error is [ErrFull] when not all fit, or one of
// [Producer.Reserve]. T is written as it lies in memory, padding included,
// and must not hold pointers.
func WriteAll[T any](p *Producer, values []T) (int, error) {
	b := p.Batch()
	n, err := Append(&b, values)
	if e := b.End(); e != nil {
		return 0, e
	}
	return n, err
}

// Append writes each value as one sample of b, as [WriteAll] does without publishing.
func Append[T any](b *Batch, values []T) (int, error) {
	size, err := sizeOfPlain(reflect.TypeFor[T]())
	if err != nil || len(values) == 0 {
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

// plain holds the sizes of types without pointers, by reflect.Type.
var plain sync.Map

// sizeOfPlain returns the size of t in bytes, and an error if t can hold pointers.
func sizeOfPlain(t reflect.Type) (int, error) {
	if size, known := plain.Load(t); known {
		return size.(int), nil
	}
	if hasPointers(t) {
		return 0, fmt.Errorf("write ring: values of type %s hold pointers", t)
	}
	if t.Size() > ring.MaxSample {
		return 0, fmt.Errorf("write ring: %w: values of type %s have %d bytes", ErrTooLarge, t, t.Size())
	}
	plain.Store(t, int(t.Size()))
	return int(t.Size()), nil
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
