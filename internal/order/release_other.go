//go:build !amd64

package order

import "sync/atomic"

// StoreRelease is a store with release semantics: an acquiring load that sees v sees every store
// before it. Here it is a sequentially consistent store, which costs no more.
func StoreRelease(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
