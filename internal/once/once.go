// Package once remembers a result, as sync.OnceValues does, but retries after a failure: a process
// may be short of descriptors or memory for a moment.
package once

import (
	"sync"
	"time"
)

// Value is the result of a function that is called until it succeeds. The zero Value is
// ready. Its methods may be called by many goroutines at once; one calls the function at
// a time, and the others wait for it.
type Value[T any] struct {
	// Pause is how long a failure is returned again before the next try, where trying
	// is expensive. The zero Pause tries at each call.
	Pause time.Duration

	mu     sync.Mutex
	known  bool // value is the result
	value  T
	err    error     // of the last try
	failed time.Time // when that was
}

// Get returns what f returned when it first succeeded, or the error of its last try.
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

// Func returns a function that calls f until it succeeds, and returns that result from then on.
func Func[T any](f func() (T, error)) func() (T, error) {
	var v Value[T]
	return func() (T, error) { return v.Get(f) }
}
