//go:build !race

package testenv

// Race tells whether the race detector is on, which makes loops of atomic accesses many times
// slower.
const Race = false
