//go:build !amd64

package order

import "sync/atomic"

// StoreRelease is a store with release semantics: a load-acquire that sees v also sees every store
// before v. Here it is a sequentially consistent store, which is not slower.
func StoreRelease(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
