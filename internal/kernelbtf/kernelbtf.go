// Package kernelbtf shares the kernel's type information among those who need it
// within a short time: to decode it takes tens of milliseconds, and under an emulator
// seconds, for each program that is loaded.
package kernelbtf

import (
	"sync"
	"weak"

	"github.com/cilium/ebpf/btf"
)

var (
	mu     sync.Mutex
	shared weak.Pointer[btf.Cache]
)

// Cache returns the types that somebody still has, or else none yet: they are decoded when
// they are needed first. Nothing keeps them in memory but who has them, so a process that
// lives long and does not need them any more has no megabytes of them.
//
// It may be called by many goroutines at once, and so may the methods of the Cache.
func Cache() *btf.Cache {
	mu.Lock()
	defer mu.Unlock()
	c := shared.Value()
	if c == nil {
		c = btf.NewCache()
		shared = weak.Make(c)
	}
	return c
}
