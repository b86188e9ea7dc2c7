//go:build !race

package testenv

// Race reports whether the race detector is on. With it, loops of atomic accesses are many times
// slower.
const Race = false
