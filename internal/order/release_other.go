//go:build !amd64

package order

import "sync/atomic"

// StoreRelease stores v so that whoever loads it with an acquiring load sees what was
// stored before. Here it is a sequentially consistent store, which costs no more.
func StoreRelease(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
