package order

// StoreRelease is a store with release semantics: a load-acquire that sees v also sees every store
// before v. Unlike atomic.StoreUint64, it may be reordered with later loads.
//
// On amd64 every store is a release, and the compiler keeps stores in program order. sync/atomic
// uses an exchange, a full barrier, which takes as long as writing a short sample (litmus
// lock-release).
//
//go:norace
func StoreRelease(p *uint64, v uint64) {
	releases(p)
	*p = v
}
