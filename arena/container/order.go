package container

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/order"
)

// checkOrder refuses tables on machines that reorder loads: a reader's second load of the bucket,
// which proves the node unchanged, might come before the loads of the node.
func checkOrder(arch string) error {
	if !order.Total(arch) {
		return fmt.Errorf("tables on %s: %w: their readers rely on loads in program order, as on amd64", arch, ebpf.ErrNotSupported)
	}
	return nil
}
