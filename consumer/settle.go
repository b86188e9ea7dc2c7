package consumer

import (
	"fmt"
	"runtime"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/syscall"
)

// ordered reports whether this machine keeps stores in program order.
var ordered = order.Total(runtime.GOARCH)

// settles reports whether settled works on this machine.
func settles() bool { return checkSettles(runtime.GOARCH) == nil }

func checkSettles(arch string) error {
	if order.Total(arch) {
		return nil
	}
	if !order.Proven(arch) {
		return fmt.Errorf("%w: the order of stores is proven for amd64 and arm64 only", ebpf.ErrNotSupported)
	}
	return syscall.CheckMembarrier()
}

// checkOverwrite returns an error if copies from a ring in overwrite mode cannot be proven whole on
// this machine.
func checkOverwrite(flags uint32, arch string) error {
	if flags&mapflag.RBOverwrite == 0 {
		return nil
	}
	if err := checkSettles(arch); err != nil {
		return fmt.Errorf("overwrite mode on %s: %w", arch, err)
	}
	return nil
}

// settleLoads is how often settled loads producer_pos before it calls membarrier(2): for about a
// microsecond.
const settleLoads = 256

// settled returns producer_pos, for a proof of what was loaded from the data of a RINGBUF before the
// call. What the caller saw of a record was published by this position, except for the header of the
// record that begins there.
//
// The kernel publishes producer_pos by a release store, and after that the program writes the
// payload (__bpf_ringbuf_reserve). On amd64 they become visible in this order. On other machines the
// payload may become visible first (litmus observer-overwrite has both). But the producer_pos of the record before it is visible by then: the kernel
// stores both under a lock, and taking a lock is an acquire of what its last holder released
// (litmus reserve-ahead). So what the caller saw begins at or below the first position loaded here.
// A later producer_pos lies at or beyond its end.
//
// If no later one comes, membarrier(2) makes all processors publish what they have stored (litmus
// reserve-settle).
func settled(mem *ring.Mapping) ring.Pos {
	first := mem.ProducerPos()
	if ordered {
		return first
	}
	for range settleLoads {
		if pos := mem.ProducerPos(); pos != first {
			return pos
		}
	}
	// checkSettles has tried the call. If a filter of system calls forbids it since, wait for the
	// next record.
	for syscall.Membarrier() != nil && mem.ProducerPos() == first && !mem.Closed() {
		time.Sleep(shortestNap)
	}
	return mem.ProducerPos()
}
