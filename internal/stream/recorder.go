package stream

import (
	"io"
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/ring"
)

// Recorder is a Sink that writes a capture of one ring or several. The zero value, with Writer set, is ready for
// Begin. [Record.Ring] says to which ring a record belongs.
//
// A capture can be a series of files, each of which is readable alone: when a file would exceed Limit, the Recorder ends
// it and begins the capture anew in the next one. A file exceeds Limit only if it has a single record.
type Recorder struct {
	*Writer
	Limit  int64                     // bytes of a file; 0 for no limit
	Next   func() (io.Writer, error) // opens the next file; Flush calls it after all of the last one is written
	Clocks func() capture.Clocks     // of the host, for each file; nil if unknown

	section capture.Section
	rings   []*recordedRing // by Record.Ring
	parts   []part          // files of which Buf has bytes, or may get some; W writes to the first
	written int64           // bytes of the first part that are not in Buf any more
}

// part is what of a file is in Buf.
type part struct {
	end    int // where it ends in Buf, if another part follows
	header int // bytes of the file before its first record
	first  int // size of its first record in bytes, 0 if there is none
	rings  int // in the file
}

// recordedRing is a ring in a capture.
type recordedRing struct {
	info      capture.Info
	index     int // in the file
	totals    func() Totals
	next      uint64 // position after the last record: if the next record is elsewhere, there is a gap
	records   uint64 // in the file
	lost      uint64 // lost bytes that are already in the capture
	discarded uint64 // discarded records that are already in the capture
	ended     bool
}

// Begin writes the beginning of the capture, and sets the Format of the Writer.
func (r *Recorder) Begin(s capture.Section) error {
	r.section, r.Format = s, r.format
	r.Buf = r.begin(r.Buf)
	return r.Flush()
}

// begin begins a file.
func (r *Recorder) begin(dst []byte) []byte {
	before := len(dst)
	dst = capture.AppendSection(dst, r.section)
	r.parts = append(r.parts, part{header: len(dst) - before})
	return dst
}

// last returns the part to which records are added.
func (r *Recorder) last() *part { return &r.parts[len(r.parts)-1] }

// Add adds a ring to the capture and returns its index. totals is the Totals of the ring's [Source], and says where
// recording begins: Add sets info.Start, and info.Clocks. After an error of [capture.AppendRing], the capture has the
// ring, without types.
func (r *Recorder) Add(totals func() Totals, info capture.Info) (ring int, err error) {
	from := &recordedRing{info: info, totals: totals, next: totals().Pos}
	r.rings = append(r.rings, from)
	if r.Buf, err = r.addRing(r.Buf, from); err == nil {
		err = r.Flush()
	}
	return len(r.rings) - 1, err
}

// addRing adds a ring to the last file.
func (r *Recorder) addRing(dst []byte, from *recordedRing) ([]byte, error) {
	to := r.last()
	from.index, from.info.Start = to.rings, from.next
	if r.Clocks != nil {
		from.info.Clocks = r.Clocks()
	}
	before := len(dst)
	dst, err := capture.AppendRing(dst, from.index, from.info)
	if to.rings++; to.first == 0 {
		to.header += len(dst) - before
	}
	return dst, err
}

// format is a [Format]. It asks the source for its losses only if there is a gap between the positions
// of two records of a ring.
func (r *Recorder) format(dst []byte, rec *Record) []byte {
	from, to := r.rings[rec.Ring], r.last()
	written := capture.Record{Ring: from.index, Pos: rec.Pos, Time: time.Now(), Data: rec.Data}
	if rec.Pos != from.next {
		lost := from.totals().Lost
		written.Lost, from.lost = lost-from.lost, lost
	}
	before := len(dst)
	dst = capture.AppendRecord(dst, written)
	if r.Limit > 0 && to.first > 0 && r.sizeOf(dst)+int64(to.rings)*endLength > r.Limit {
		dst = r.split(dst[:before])
		to, before = r.last(), len(dst)
		written.Ring = from.index
		dst = capture.AppendRecord(dst, written)
	}
	from.next = rec.Pos + ring.Span(uint32(len(rec.Data)))
	from.records++
	if to.first == 0 {
		to.first = len(dst) - before
	}
	return dst
}

// endLength is the length of a ring's end in bytes.
var endLength = int64(len(capture.AppendEnd(nil, capture.End{})))

// sizeOf returns the size of the last file, if dst is what is not written yet.
func (r *Recorder) sizeOf(dst []byte) int64 {
	if n := len(r.parts); n > 1 {
		return int64(len(dst) - r.parts[n-2].end)
	}
	return r.written + int64(len(dst))
}

// split ends the file, and begins the next one with all rings that have not ended.
func (r *Recorder) split(dst []byte) []byte {
	for _, from := range r.rings {
		if !from.ended {
			dst = from.end(dst, from.next)
		}
	}
	r.last().end = len(dst)
	dst = r.begin(dst)
	for _, from := range r.rings {
		if !from.ended {
			from.records = 0
			dst, _ = r.addRing(dst, from) // types that could be written can be written again
		}
	}
	return dst
}

// end appends the end of the ring in a file, at the given position.
func (from *recordedRing) end(dst []byte, pos uint64) []byte {
	t := from.totals()
	dst = capture.AppendEnd(dst, capture.End{
		Ring: from.index, Time: time.Now(), Pos: pos, Records: from.records,
		Discarded: t.Discarded - from.discarded, Lost: t.Lost - from.lost,
	})
	from.discarded, from.lost = t.Discarded, t.Lost
	return dst
}

// End writes the end of a ring, of which no record may follow. Later calls for the same ring do nothing.
func (r *Recorder) End(ring int) error {
	from := r.rings[ring]
	if from.ended {
		return nil
	}
	from.ended = true
	r.Buf = from.end(r.Buf, from.totals().Pos)
	return r.Flush()
}

// Finish writes the end of the capture: of all rings that have not ended.
func (r *Recorder) Finish() error {
	for ring := range r.rings {
		if err := r.End(ring); err != nil {
			return err
		}
	}
	return nil
}

// Flush implements [Sink]. It opens the next file when one is complete.
func (r *Recorder) Flush() error {
	for len(r.parts) > 1 {
		before, end := len(r.Buf), r.parts[0].end
		err := r.flush(end)
		gone := before - len(r.Buf)
		r.written += int64(gone)
		for i := range r.parts {
			r.parts[i].end -= gone
		}
		if err == nil {
			r.W, err = r.Next()
		}
		if err != nil {
			return err
		}
		r.parts, r.written = r.parts[1:], 0
	}
	before := len(r.Buf)
	err := r.Writer.Flush()
	r.written += int64(before - len(r.Buf))
	return err
}

// HasRecord reports whether the first size bytes of the file that W writes contain a whole record.
func (r *Recorder) HasRecord(size int64) bool {
	if len(r.parts) == 0 {
		return false
	}
	p := &r.parts[0]
	return p.first > 0 && size >= int64(p.header+p.first)
}
