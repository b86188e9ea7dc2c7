package container

import (
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/order"
)

// fence makes all loads before it happen before all loads after it. On x86 a locked instruction is a full
// barrier. Loads keep their order without it, except those of string instructions, which copy uses.
func fence() {
	var word atomic.Uint32
	word.Add(1)
}

// checkOrder returns an error on machines that reorder loads. There, a reader's second load of the bucket
// could happen before its loads of the node, and would not prove that the node was unchanged.
func checkOrder(arch string) error {
	if !order.Total(arch) {
		return fmt.Errorf("tables on %s: %w: readers need loads in program order, as on amd64", arch, ebpf.ErrNotSupported)
	}
	return nil
}
