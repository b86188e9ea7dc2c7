package container

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/order"
)

// checkOrder returns an error on machines for which order.LoadFence is not proven. There, a reader's second
// load of the bucket could happen before its loads of the node, and would not prove that the node was
// unchanged.
func checkOrder(arch string) error {
	if !order.Proven(arch) {
		return fmt.Errorf("tables on %s: %w: the order of loads is proven for amd64 and arm64 only", arch, ebpf.ErrNotSupported)
	}
	return nil
}
