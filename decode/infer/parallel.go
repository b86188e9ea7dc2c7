package infer

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// maxParallel bounds the goroutines of an answer, and with it the instructions that are in memory.
const maxParallel = 4

// parallel calls do for the numbers below n, in several goroutines. It returns when all calls have.
func parallel(n int, do func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, maxParallel, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	all.Wait()
}

// begin calls do in a goroutine. wait returns what it returns.
func begin[T any](do func() (T, error)) (wait func() (T, error)) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	return sync.OnceValues(func() (T, error) {
		r := <-done
		return r.value, r.err
	})
}
