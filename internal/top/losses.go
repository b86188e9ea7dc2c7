package top

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/escape"
)

// Drops are the failed reservations by ring. It is nil if they are not counted.
type Drops struct {
	rings map[ebpf.MapID]*drops.Ring
	only  ebpf.MapID
}

// NewDrops returns the Drops of a report, of all rings or, if only is not 0, of that ring.
func NewDrops(r *drops.Report, only ebpf.MapID) *Drops {
	d := &Drops{make(map[ebpf.MapID]*drops.Ring, len(r.Rings)), only}
	for i := range r.Rings {
		if ring := &r.Rings[i]; !ring.Gone {
			d.rings[ring.ID] = ring
		}
	}
	return d
}

// Of returns the counts of a ring, or nil.
func (f *Drops) Of(id ebpf.MapID) *drops.Ring {
	if f == nil {
		return nil
	}
	return f.rings[id]
}

// counts reports whether the failed reservations of a ring are counted.
func (f *Drops) counts(m *inspect.Map) bool {
	return f != nil && m.Type == ebpf.RingBuf && (f.only == 0 || f.only == m.ID)
}

// Lost returns the bytes that a ring has lost since the first sample: in overwrite mode those that were overwritten before
// they were consumed, of a user ring those of the samples that its producers could not write, of other rings those of failed
// reservations, headers included, if they are counted.
func (f *Drops) Lost(m *inspect.Map) (bytes float64, known bool) {
	switch {
	case m.Positions == nil || m.Flow == nil:
		return 0, false
	case m.Positions.Overwrite != nil:
		return m.Flow.Overwritten.Float64(), true
	case m.Flow.Refused != nil:
		return float64(m.Flow.Refused.Bytes), true
	case f.counts(m):
		if r := f.Of(m.ID); r != nil {
			return float64(r.FailedBytes), true
		}
		return 0, true // no program has called
	}
	return 0, false
}

// Records returns the records that were refused since the first sample: failed reservations, or samples of a user ring.
func (f *Drops) Records(m *inspect.Map) (n uint64, known bool) {
	switch {
	case m.Type == ebpf.UserRingbuf && m.Flow != nil && m.Flow.Refused != nil:
		return m.Flow.Refused.Samples, true
	case f.counts(m):
		if r := f.Of(m.ID); r != nil {
			return r.Failed, true
		}
		return 0, true
	}
	return 0, false
}

func lostText(m *Model, d *inspect.Map, _ int) string {
	n, known := m.drops.Lost(d)
	if !known {
		return "-"
	}
	return bytes(n)
}

func dropsText(m *Model, d *inspect.Map, _ int) string {
	n, known := m.drops.Records(d)
	if !known {
		return "-"
	}
	return whole(n)
}

// lossLines returns lines about the records that a ring lost.
func (m *Model) lossLines(d *inspect.Map) (lines []line) {
	f, p := d.Flow, d.Positions
	if p.Overwrite != nil {
		lines = append(lines, plain(fmt.Sprintf("lost     %s overwritten before they were consumed", bytes(f.Overwritten.Float64()))))
	}
	if r := f.Refused; r != nil {
		lines = append(lines, plain(fmt.Sprintf("lost     %s samples of %s refused by the full ring   no room for %s",
			whole(r.Samples), bytes(float64(r.Bytes)), ago(r.Full))))
	}
	if r := m.drops.Of(d.ID); r != nil {
		text := fmt.Sprintf("drops    %s of %s reservations failed, %s", exactCount(r), whole(r.Calls), bytes(float64(r.FailedBytes)))
		for _, text := range wrap(text+blamed(r), len("drops    "), m.width) {
			lines = append(lines, plain(text))
		}
	}
	return lines
}

// exactCount returns the number of failed reservations of a ring, with its bounds if it is not exact.
func exactCount(r *drops.Ring) string {
	text := whole(r.Failed)
	if r.FailedLow != r.FailedHigh {
		text += fmt.Sprintf(" (%s to %s)", whole(r.FailedLow), whole(r.FailedHigh))
	}
	return text
}

// blamed lists the programs whose reservations failed.
func blamed(r *drops.Ring) string {
	var names []string
	for _, c := range r.Callers {
		if c.Failed > 0 {
			names = append(names, fmt.Sprintf("%s %s", escape.String(CallerName(&c)), whole(c.Failed)))
		}
	}
	if names == nil {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

// CallerName returns what to call the program of a caller.
func CallerName(c *drops.Caller) string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Program != 0:
		return fmt.Sprintf("id:%d", c.Program)
	}
	return "unknown"
}

// whole formats a number in at most five columns, exactly if it fits.
func whole(n uint64) string {
	if n < 1e5 {
		return fmt.Sprint(n)
	}
	return count(float64(n))
}
