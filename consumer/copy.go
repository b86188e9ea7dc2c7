package consumer

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
)

// copyBuffer holds a copy of records that may be overwritten while they are copied. A position
// loaded after the copy proves what lies at it or after it.
type copyBuffer struct {
	buf  []byte
	want uint64 // span of the record that the last copy cut off, or 0
}

// How many bytes of the ring are copied at a time, unless a record is longer.
const (
	copyPass = 64 << 10
	copyOne  = 4 << 10 // for a pass of one record
)

// take copies records from pos up to goal, limit bytes of them unless the first is longer. It
// returns the copy, its end, and the position from which on it is proven: the one that oldest
// returns after the copy, at least pos. pos and goal are aligned and at most the ring's size apart.
func (c *copyBuffer) take(src ring.Data, pos, goal ring.Pos, limit uint64, oldest func() ring.Pos) (data ring.Data, end, proven ring.Pos) {
	n := min(max(limit, c.want), uint64(goal-pos))
	if n > uint64(len(c.buf)) {
		c.buf = make([]byte, n, n+ring.CopySlack)
	}
	buf := c.buf[:n]
	src.Read(buf, pos)
	return ring.Copy(buf, pos), pos + ring.Pos(n), ring.Later(pos, oldest())
}

// copies reports whether records are copied before they are handed out.
func (r *Reader) copies() bool { return r.over || r.rivals != noRivals }

// refill continues w on a fresh copy of the records from w.pos on, or, once this Reader
// is the ring's only consumer, in the ring itself. It returns false when the pass is over.
func (r *Reader) refill(w *walk) bool {
	if r.copies() {
		return r.copyProven(w)
	}
	if !w.end.Before(w.goal) {
		return false
	}
	w.data, w.end = r.mem.Data(), w.goal
	r.err = r.check(w.pos, w.end)
	return r.err == nil
}

// copyProven continues w on a proven copy of the records from w.pos on. It returns false when
// the pass is over.
func (r *Reader) copyProven(w *walk) bool {
	limit := uint64(copyPass)
	if w.left == 1 {
		limit = copyOne
	}
	// All iterations but the last find their whole copy gone, and resume after it.
	for {
		r.skipTo(w, r.oldestIntact())
		if !w.pos.Before(w.goal) {
			return false
		}
		if r.err = r.check(w.pos, w.goal); r.err != nil {
			return false
		}
		var proven ring.Pos
		w.data, w.end, proven = r.copy.take(r.mem.Data(), w.pos, w.goal, limit, r.oldestIntact)
		r.skipTo(w, proven)
		if w.pos.Before(w.end) {
			r.copy.want = 0
			r.err = r.check(w.pos, w.end)
			return r.err == nil
		}
	}
}

// oldestIntact returns a position from which on nothing was overwritten before the call, up to
// the producer position at which the pass began.
//
// In overwrite mode the kernel overwrites the oldest records whatever the consumer position is,
// and stores overwrite_pos before producer_pos (__bpf_ringbuf_reserve).
//
// Otherwise it overwrites what any consumer has published. Partner: the smp_load_acquire of
// consumer_pos in __bpf_ringbuf_reserve. If a copy has any of what a producer wrote over a
// record, this load sees the position that made room for it.
func (r *Reader) oldestIntact() ring.Pos {
	if r.over {
		return r.mem.OverwritePos()
	}
	return r.mem.ConsumerPos()
}

// skipTo moves w to the record at pos, if it is later: the records before it were overwritten,
// or consumed by a rival.
func (r *Reader) skipTo(w *walk, pos ring.Pos) {
	gone := w.pos.To(pos)
	if gone == 0 {
		return
	}
	if r.over {
		r.counts.lost.Add(gone)
	}
	w.pos, w.last = pos, 0
}

// recopy makes the next refill copy the whole record at w.pos, of span bytes, which the end of
// this copy cuts off. It returns false if the record ends past the producer position too: then
// its header is wrong.
func (r *Reader) recopy(w *walk, span uint64) bool {
	if w.end == w.goal || span > uint64(w.goal-w.pos) {
		return false
	}
	r.copy.want = span
	w.end = w.pos
	return true
}

// ordered reports whether this machine keeps stores in program order.
var ordered = order.Total(runtime.GOARCH)

// checkOverwrite refuses rings in overwrite mode on machines that reorder the kernel's stores: a
// record may then be overwritten before overwrite_pos says so, and a torn copy pass for whole.
func checkOverwrite(flags uint32, arch string) error {
	if flags&mapflag.RBOverwrite != 0 && !order.Total(arch) {
		return fmt.Errorf("overwrite mode on %s: %w: a copy is proven by the order of the kernel's stores, as on amd64",
			arch, ebpf.ErrNotSupported)
	}
	return nil
}
