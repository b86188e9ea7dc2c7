package consumer

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
)

// ordered says that this machine does not reorder stores.
var ordered = order.Total(runtime.GOARCH)

// checkOverwrite refuses rings in overwrite mode on machines that reorder the kernel's stores: a
// record may then be overwritten before overwrite_pos says so, and a torn copy pass for whole.
func checkOverwrite(flags uint32, arch string) error {
	if flags&ring.FlagOverwrite != 0 && !order.Total(arch) {
		return fmt.Errorf("overwrite mode on %s: %w: a copy is proven by the order of the kernel's stores, as on amd64",
			arch, ebpf.ErrNotSupported)
	}
	return nil
}
