//go:build race

package testenv

// Race says that the race detector watches, which makes a loop over atomic
// accesses many times slower.
const Race = true
