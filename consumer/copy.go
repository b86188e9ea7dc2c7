package consumer

import "github.com/rbtool/rbtool/internal/ring"

// copyBuffer holds copies of records that can be overwritten during a pass. A position
// loaded after the copy proves it whole.
type copyBuffer struct {
	buf  []byte
	want uint64 // bytes of the record that the last copy cut off, or 0
}

// How much of the ring is copied at a time, in bytes, unless a record is longer.
const (
	copyPass = 64 << 10
	copyOne  = 4 << 10 // for a pass of a single record
)

// alloc returns n bytes to copy to, a multiple of 8.
func (c *copyBuffer) alloc(n uint64) []byte {
	if n > uint64(len(c.buf)) {
		c.buf = make([]byte, n, n+ring.CopySlack)
	}
	return c.buf[:n]
}

// copies reports whether records are copied before they are handed out.
func (r *Reader) copies() bool { return r.over || r.rivals != noRivals }

// refill continues w on a fresh copy of the records from w.pos on, or, once this Reader
// is the ring's only consumer, in the ring itself. It returns false when the pass is over.
func (r *Reader) refill(w *walk) bool {
	switch {
	case r.over:
		return r.copyOverwritten(w)
	case r.rivals != noRivals:
		return r.copyContested(w)
	case int64(w.goal-w.end) <= 0:
		return false
	}
	w.data, w.end = r.mem.Data(), w.goal
	r.err = r.check(w.pos, w.end)
	return r.err == nil
}

// copyFrom copies records from w.pos on, up to w.goal at most.
func (r *Reader) copyFrom(w *walk) {
	size := uint64(copyPass)
	if w.left == 1 {
		size = copyOne
	}
	buf := r.copy.alloc(min(max(size, r.copy.want), w.goal-w.pos))
	r.mem.Data().Read(buf, w.pos)
	w.data, w.end = ring.Copy(buf, w.pos), w.pos+uint64(len(buf))
}

// recopy makes the next refill copy the record at w.pos, of span bytes, as a whole: the
// end of this copy cuts it off. It returns false if the record ends past the producer's
// position too: then its header is wrong.
func (r *Reader) recopy(w *walk, span uint64) bool {
	if w.end == w.goal || span > w.goal-w.pos {
		return false
	}
	r.copy.want = span
	w.end = w.pos
	return true
}
