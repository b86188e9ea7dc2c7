//go:build !amd64 && !arm64

package order

// LoadBarrier is LoadFence where loads are not in program order anyway.
func LoadBarrier() { LoadFence() }
