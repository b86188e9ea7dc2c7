// Package once caches the result of a function, as sync.OnceValues does. Unlike that, it does not cache
// an error: the function is called again, since a lack of descriptors or memory can be temporary.
package once

import (
	"sync"
	"time"
)

// Value caches the result of a function that is called until it succeeds. The zero Value is ready for
// use. Its methods may be called concurrently: one goroutine calls the function, the others wait.
type Value[T any] struct {
	// Pause is the time after a failed call during which its error is returned without another call, for
	// a function that is expensive. With 0, there is no such time.
	Pause time.Duration

	mu     sync.Mutex
	known  bool // the function has succeeded: value is its result
	value  T
	err    error     // error of the last call
	failed time.Time // when the last call failed
}

// Get returns the result of the first call of f that succeeded. If there is none yet, it calls f, or
// returns the last error during Pause.
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

// Known returns the result of the function, or false if no call has succeeded yet.
func (v *Value[T]) Known() (T, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value, v.known
}

// Func returns a function that calls f until a call succeeds, and then always returns that result.
func Func[T any](f func() (T, error)) func() (T, error) {
	var v Value[T]
	return func() (T, error) { return v.Get(f) }
}
