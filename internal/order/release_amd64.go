package order

// StoreRelease stores v so that whoever loads it with an acquiring load sees what was
// stored before; unlike atomic.StoreUint64, loads after it may come before it.
//
// On this architecture every store is one, and the compiler emits stores in the
// order of the program. sync/atomic has only the exchange, a full barrier, which
// takes as long as writing a short sample.
//
// A build with -race has the same store, and tells the race detector that it is a release.
//
//go:norace
func StoreRelease(p *uint64, v uint64) {
	releases(p)
	*p = v
}
