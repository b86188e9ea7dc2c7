// Package once caches the result of a function, as sync.OnceValues does, but calls the function again
// after an error: a shortage of descriptors or memory may be temporary.
package once

import (
	"sync"
	"time"
)

// Value caches the result of a function that is called until it succeeds. The zero Value is ready for
// use. Its methods may be called concurrently: one goroutine calls the function, the others wait.
type Value[T any] struct {
	// Pause is how long an error is returned again before the next attempt, for an expensive function.
	// With 0 each call makes an attempt.
	Pause time.Duration

	mu     sync.Mutex
	known  bool // value is set
	value  T
	err    error     // of the last attempt
	failed time.Time // time of err
}

// Get returns the result of the first successful call of f, or the error of the last one.
func (v *Value[T]) Get(f func() (T, error)) (T, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known || v.err != nil && time.Since(v.failed) < v.Pause {
		return v.value, v.err
	}
	value, err := f()
	if v.err = err; err != nil {
		v.failed = time.Now()
		return v.value, err
	}
	v.known, v.value = true, value
	return value, nil
}

// Known returns the result if there is one.
func (v *Value[T]) Known() (T, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value, v.known
}

// Func returns a function that calls f until it succeeds, and from then on returns that result.
func Func[T any](f func() (T, error)) func() (T, error) {
	var v Value[T]
	return func() (T, error) { return v.Get(f) }
}
