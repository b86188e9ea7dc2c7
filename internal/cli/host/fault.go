package host

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/userring"
)

// ringFault describes what is corrupt in a ring, and returns the command that repairs it. Both are empty
// if the ring is intact or cannot be mapped.
func ringFault(m *ebpf.Map, ref string) (fault, repair string) {
	switch m.Type() {
	case ebpf.RingBuf:
		if err := consumer.Diagnose(m); errors.Is(err, consumer.ErrCorrupt) {
			return err.Error(), fmt.Sprintf("rbtool tail %s --recover resumes at the oldest intact record", ref)
		}
	case ebpf.UserRingbuf:
		if d, err := userring.Diagnose(m); err == nil && d.Fault != nil {
			return d.Fault.Error(), fmt.Sprintf("rbtool produce --user %s --recover discards everything after the last valid sample", ref)
		}
	}
	return "", ""
}
