// Package object spares those who load a bundled BPF object many times its parsing.
package object

import (
	"sync"

	"github.com/cilium/ebpf"
)

// Copies returns a function that parses an object by load, once, and returns a copy of what
// came of it at each call, which is the caller's to change. Goroutines may share it.
func Copies(load func() (*ebpf.CollectionSpec, error)) func() (*ebpf.CollectionSpec, error) {
	parsed := sync.OnceValues(load)
	return func() (*ebpf.CollectionSpec, error) {
		spec, err := parsed()
		return spec.Copy(), err // of nil it is nil
	}
}
