// Package object keeps a parsed BPF object in memory, for callers that load a bundled object more than
// once.
package object

import (
	"sync"

	"github.com/cilium/ebpf"
)

// Copies returns a function that may be called concurrently. Its first call calls load. Each call
// returns a copy of what load returned, which the caller may change.
func Copies(load func() (*ebpf.CollectionSpec, error)) func() (*ebpf.CollectionSpec, error) {
	parsed := sync.OnceValues(load)
	return func() (*ebpf.CollectionSpec, error) {
		spec, err := parsed()
		return spec.Copy(), err // Copy returns nil for a nil spec
	}
}
