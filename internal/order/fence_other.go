//go:build !arm64

package order

import "sync/atomic"

// LoadFence makes all loads before it happen before all loads and stores after it (litmus load-fence). On amd64 a locked
// instruction is a full barrier. Loads keep their order without it, except those of string instructions,
// which copy uses.
func LoadFence() {
	var word atomic.Uint32
	word.Add(1)
}
