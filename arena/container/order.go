package container

import (
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/order"
)

// fence orders all loads before it before all loads after it. A locked instruction is a full barrier on
// x86, for string instructions too, whose loads are otherwise in no order.
func fence() {
	var word atomic.Uint32
	word.Add(1)
}

// checkOrder refuses tables on machines that reorder loads. There, a reader's second load of the bucket,
// which proves the node unchanged, could precede the loads of the node.
func checkOrder(arch string) error {
	if !order.Total(arch) {
		return fmt.Errorf("tables on %s: %w: their readers rely on loads in program order, as on amd64", arch, ebpf.ErrNotSupported)
	}
	return nil
}
