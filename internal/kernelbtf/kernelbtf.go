// Package kernelbtf shares the kernel's BTF among the loaders of programs. Decoding it takes tens of
// milliseconds, and seconds in an emulator; without sharing, each program that is loaded pays for it.
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

// Cache returns the cache that a caller still holds, or a new and empty one, which decodes the BTF on
// first use. The package holds only a weak reference: once the callers drop the cache, its megabytes
// are garbage.
//
// Cache and the methods of the cache may be called concurrently.
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
