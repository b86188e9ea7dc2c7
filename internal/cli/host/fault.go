package host

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/userprod"
)

// ringFault returns the fault of a ring in words, and the command that mends it; both are empty if
// there is none or the ring cannot be mapped.
func ringFault(m *ebpf.Map, ref string) (fault, mend string) {
	switch m.Type() {
	case ebpf.RingBuf:
		if err := consumer.Diagnose(m); errors.Is(err, consumer.ErrCorrupt) {
			return err.Error(), fmt.Sprintf("rbtool tail %s --recover resumes at the oldest intact record", ref)
		}
	case ebpf.UserRingbuf:
		if d, err := userprod.Diagnose(m); err == nil && d.Fault != nil {
			return d.Fault.Error(), fmt.Sprintf("rbtool produce --user %s --recover discards everything after the last valid sample", ref)
		}
	}
	return "", ""
}
