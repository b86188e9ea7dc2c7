package order

// StoreRelease is a store with release semantics: an acquiring load that sees v sees every store
// before it. Unlike with atomic.StoreUint64, later loads may be ordered before it.
//
// On amd64 every store is a release, and the compiler keeps stores in program order. sync/atomic
// offers only the exchange, a full barrier, which takes as long as writing a short sample.
//
//go:norace
func StoreRelease(p *uint64, v uint64) {
	releases(p)
	*p = v
}
