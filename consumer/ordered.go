package consumer

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
)

// ordered says that this machine's stores become visible in their order.
var ordered = order.Total(runtime.GOARCH)

// checkOverwrite refuses rings in overwrite mode where the kernel's stores may become visible in
// another order: a record may then be written over before overwrite_pos says so, and a copy is
// taken for whole that is not.
func checkOverwrite(flags uint32, arch string) error {
	if flags&ring.FlagOverwrite != 0 && !order.Total(arch) {
		return fmt.Errorf("overwrite mode on %s: %w: a copy is proven by the order of the kernel's stores, as on amd64",
			arch, ebpf.ErrNotSupported)
	}
	return nil
}
