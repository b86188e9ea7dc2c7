// Package kernelbtf lets all loaders of programs share the kernel's BTF. Decoding it takes tens of
// milliseconds, in an emulator seconds. Without sharing it is decoded for each program that is loaded.
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

// Cache returns the cache of the kernel's BTF. If no caller holds a cache, it returns a new one, which
// decodes the BTF on first use. This package has only a weak reference to the cache: once no caller
// holds it, the garbage collector frees its megabytes.
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
