package consumer

import "github.com/rbtool/rbtool/internal/ring"

// flagOverwrite is BPF_F_RB_OVERWRITE (include/uapi/linux/bpf.h, Linux 6.19).
const flagOverwrite = 1 << 19

// overwritten is what reading a ring in overwrite mode takes: the kernel
// writes over the oldest records without regard for the consumer, so they are
// copied first, then proven: what lies at or behind overwrite_pos, loaded after
// the copy, was whole. The pass walks over the copy.
type overwritten struct {
	buf  []byte
	want uint64 // bytes of the record that the last copy cut off, or 0
}

// How much of the ring is copied at a time, in bytes, unless a record is longer.
const (
	copyPass = 64 << 10
	copyOne  = 4 << 10 // for a pass of a single record
)

// alloc returns n bytes to copy to, a multiple of 8.
func (o *overwritten) alloc(n uint64) []byte {
	if n > uint64(len(o.buf)) {
		o.buf = make([]byte, n, n+ring.CopySlack)
	}
	return o.buf[:n]
}

// refill continues w on a fresh copy of the records from w.pos on. It returns
// false when the pass is over, and always in a ring that is not in overwrite
// mode, where nothing needs to be copied.
func (r *Reader) refill(w *walk) bool {
	if r.over == nil {
		return false
	}
	size := uint64(copyPass)
	if w.left == 1 {
		size = copyOne
	}
	size = max(size, r.over.want)
	// Each turn but the last finds all of its copy overwritten, and goes on behind it.
	for {
		// The kernel stores overwrite_pos before producer_pos
		// (__bpf_ringbuf_reserve): behind the position loaded now, all is whole up
		// to the producer's that the pass began with.
		r.skipTo(w, r.mem.OverwritePos())
		if int64(w.goal-w.pos) <= 0 {
			return false
		}
		if r.err = r.check(w.pos, w.goal); r.err != nil {
			return false
		}
		buf := r.over.alloc(min(size, w.goal-w.pos))
		r.mem.Data().Read(buf, w.pos)
		w.data, w.end = ring.Copy(buf, w.pos), w.pos+uint64(len(buf))
		r.skipTo(w, r.mem.OverwritePos())
		if int64(w.end-w.pos) > 0 {
			r.over.want = 0
			r.err = r.check(w.pos, w.end)
			return r.err == nil
		}
	}
}

// recopy makes the next refill copy the record at w.pos, of span bytes, whole
// when the end of the copy cut it off. It returns false when the record does
// not end before the producer's position either: then its header is wrong.
func (r *Reader) recopy(w *walk, span uint64) bool {
	if r.over == nil || span > w.goal-w.pos {
		return false
	}
	r.over.want = span
	w.end = w.pos
	return true
}

// skipTo moves w on to the record at pos, when that is later: all before it
// was overwritten.
func (r *Reader) skipTo(w *walk, pos uint64) {
	if lost := int64(pos - w.pos); lost > 0 {
		r.counts.lost.Add(uint64(lost))
		w.pos, w.last = pos, 0
	}
}
