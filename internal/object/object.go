// Package object caches parsed BPF objects, for callers that load a bundled object more than once.
package object

import (
	"sync"

	"github.com/cilium/ebpf"
)

// Copies returns a function that calls load once, and at each call returns a copy of the result, which
// the caller may change. The function may be called concurrently.
func Copies(load func() (*ebpf.CollectionSpec, error)) func() (*ebpf.CollectionSpec, error) {
	parsed := sync.OnceValues(load)
	return func() (*ebpf.CollectionSpec, error) {
		spec, err := parsed()
		return spec.Copy(), err // Copy of nil is nil
	}
}
