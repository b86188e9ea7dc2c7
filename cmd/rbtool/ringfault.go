package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/userprod"
)

// explainReader adds to the error of a ring that cannot be read what to do.
func explainReader(err error) error {
	busy, ok := errors.AsType[*consumer.BusyError](err)
	switch {
	case ok && busy.Stolen:
		return err
	case ok && busy.Unseen:
		return &failure{
			err: err, status: statusBusy,
			hint: "with CAP_BPF and CAP_PERFMON the kernel tells whether it lives; --steal takes the ring from that process",
		}
	case ok:
		return consumedBy(describePID(busy.PID))
	case errors.Is(err, consumer.ErrCorrupt):
		return withHint(err, "--recover resumes at the oldest record that is intact")
	}
	return err
}

// sayMended tells what was wrong with a ring that --recover mended.
func sayMended(w io.Writer, src feed) {
	c, ok := src.(consuming)
	if !ok {
		return
	}
	if found := c.Recovered(); found.Mended != nil {
		note(w, "the ring was mended: %v", found.Mended)
		note(w, "reading resumes at position %d; %d bytes before it are overwritten", found.Resumed, found.Lost)
	}
}

// ringFault is what is wrong with a ring, in words, and what mends it; "" if nothing is, or if
// its memory cannot be mapped.
func ringFault(m *ebpf.Map, ref string) (fault, mend string) {
	switch m.Type() {
	case ebpf.RingBuf:
		if d, err := consumer.Diagnose(m); err == nil && d.Fault != nil {
			return d.Fault.Error(), fmt.Sprintf("rbtool tail %s --recover resumes at the oldest record that is intact", ref)
		}
	case ebpf.UserRingbuf:
		if d, err := userprod.Diagnose(m); err == nil && d.Fault != nil {
			return d.Fault.Error(), fmt.Sprintf("rbtool produce --user %s --recover throws away what is behind the last sample that makes sense", ref)
		}
	}
	return "", ""
}
