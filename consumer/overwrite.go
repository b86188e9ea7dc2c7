package consumer

// copyOverwritten continues w on a fresh copy of the records from w.pos on, in a ring in
// overwrite mode: the kernel writes over the oldest records without regard for the
// consumer. What lies at or behind overwrite_pos, loaded after the copy, was whole. It
// returns false when the pass is over.
func (r *Reader) copyOverwritten(w *walk) bool {
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
		r.copyFrom(w)
		r.skipTo(w, r.mem.OverwritePos())
		if int64(w.end-w.pos) > 0 {
			r.copy.want = 0
			r.err = r.check(w.pos, w.end)
			return r.err == nil
		}
	}
}

// skipTo moves w on to the record at pos, when that is later: all before it
// was overwritten.
func (r *Reader) skipTo(w *walk, pos uint64) {
	if lost := int64(pos - w.pos); lost > 0 {
		r.counts.lost.Add(uint64(lost))
		w.pos, w.last = pos, 0
	}
}
