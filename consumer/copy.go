package consumer

import "github.com/rbtool/rbtool/internal/ring"

// copyBuffer holds a copy of records that the producer may overwrite during the copy. A position
// loaded after the copy shows which part is whole: all that lies at that position or after it.
type copyBuffer struct {
	buf  []byte
	want uint64 // span of the record that the end of the last copy cut off, or 0
	// What the last copy proved: data from the position whole up to end. Both are 0 if nothing.
	data       ring.Data
	whole, end ring.Pos
}

// Bytes of the ring that are copied at a time. A longer record is copied as a whole.
const (
	copyPass = 64 << 10
	copyOne  = 4 << 10 // for a pass of one record
)

// take copies records from pos up to goal: limit bytes, or c.want if that is more. It returns the
// copy, the position at which it ends, and the position from which on it is whole: the result of
// oldest, called after the copy, but at least pos. pos and goal are multiples of 8 and at most the
// size of the ring apart.
func (c *copyBuffer) take(src ring.Data, pos, goal ring.Pos, limit uint64, oldest func() ring.Pos) (data ring.Data, end, proven ring.Pos) {
	n := min(max(limit, c.want), uint64(goal-pos))
	if n > uint64(len(c.buf)) {
		c.buf = make([]byte, n, n+ring.CopySlack)
	}
	buf := c.buf[:n]
	src.Read(buf, pos)
	c.data, c.end = ring.Copy(buf, pos), pos+ring.Pos(n)
	c.whole = ring.Later(pos, oldest())
	return c.data, c.end, c.whole
}

// rest returns the rest of the last copy from pos on, if it is proven and begins with a record that
// is whole and not busy. A proof can take a system call: see settled.
func (c *copyBuffer) rest(pos ring.Pos, kind ring.Kind) (data ring.Data, end ring.Pos, ok bool) {
	left := uint64(c.end - pos)
	if c.want > 0 || !c.whole.NotAfter(pos) || !pos.Before(c.end) || left < ring.HeaderSize {
		return data, end, false
	}
	header := c.data.Header(pos)
	return c.data, c.end, header.State(kind) != ring.Busy && ring.Span(header.Len()) <= left
}

// copies reports whether records are copied before they are handed out.
func (r *Reader) copies() bool { return r.over || r.rivals != noRivals }

// refill continues w at w.pos: on a fresh copy of the records, or in the ring itself once this
// Reader has no rivals. It returns false when the pass is over.
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
	// If the producer has overwritten all of a copy, copy again what follows it.
	for {
		r.skipTo(w, r.oldestShown())
		if !w.pos.Before(w.goal) {
			return false
		}
		if r.err = r.check(w.pos, w.goal); r.err != nil {
			return false
		}
		if data, end, ok := r.copy.rest(w.pos, ring.Kernel); ok && r.over {
			w.data, w.end = data, end
			return true
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

// oldestIntact returns a position. The records between it and the producer position at which the
// pass began were not overwritten before the call.
//
// In overwrite mode the kernel overwrites the oldest records, whatever the consumer position is. It
// stores overwrite_pos before producer_pos (__bpf_ringbuf_reserve), and producer_pos shows what was
// overwritten: see settled.
//
// In other rings the kernel overwrites only records below consumer_pos. Partner: the
// smp_load_acquire of consumer_pos in __bpf_ringbuf_reserve. If a copy contains bytes that a
// producer wrote over a record, the load here returns at least the consumer_pos that let the
// producer write there (litmus copy-consumed).
func (r *Reader) oldestIntact() ring.Pos {
	if r.over {
		settled(r.mem)
	}
	return r.oldestShown()
}

// oldestShown is oldestIntact as the ring's positions show it: records after it may have been
// overwritten too. Partner: the smp_store_release of producer_pos in __bpf_ringbuf_reserve, which
// the caller has loaded before; without that order, overwrite_pos could be more than the ring's size
// behind producer_pos (litmus overwrite-pos).
func (r *Reader) oldestShown() ring.Pos {
	if r.over {
		return r.mem.OverwritePos()
	}
	return r.mem.ConsumerPos()
}

// skipTo moves w to the record at pos, if pos is after w.pos. The records in between were
// overwritten, or consumed by a rival.
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

// recopy makes the next refill begin with the record at w.pos, because the end of the current copy
// cuts it off. span is the size of the record. recopy returns false if the record would end after
// the producer position: its header is then wrong.
func (r *Reader) recopy(w *walk, span uint64) bool {
	if w.end == w.goal || span > uint64(w.goal-w.pos) {
		return false
	}
	r.copy.want = span
	w.end = w.pos
	return true
}
