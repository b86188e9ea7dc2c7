package stream

import (
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/ring"
)

// Recorder is a Sink that writes a capture file. The zero value, with Writer and Source set, is ready for Begin.
type Recorder struct {
	*Writer
	Source Source

	next   uint64 // position after the last record: if the next record is elsewhere, there is a gap
	lost   uint64 // lost bytes that are already in the capture
	header int    // bytes before the first record in the file
	first  int    // size of the first record in bytes, 0 if there is none
}

// Begin sets info.Start to the position of the source, writes the header of the capture, and sets the
// Format of the Writer.
func (r *Recorder) Begin(info capture.Info) error {
	info.Start = r.Source.Totals().Pos
	r.next, r.Format = info.Start, r.format
	var err error
	if r.Buf, err = capture.AppendHeader(r.Buf, info); err != nil {
		return err
	}
	r.header = len(r.Buf)
	return r.Flush()
}

// format is a [Format]. It asks the source for its losses only if there is a gap between the positions
// of two records.
func (r *Recorder) format(dst []byte, rec *Record) []byte {
	written := capture.Record{Pos: rec.Pos, Time: time.Now(), Data: rec.Data}
	if rec.Pos != r.next {
		lost := r.Source.Totals().Lost
		written.Lost, r.lost = lost-r.lost, lost
	}
	r.next = rec.Pos + ring.Span(uint32(len(rec.Data)))
	before := len(dst)
	dst = capture.AppendRecord(dst, written)
	if r.first == 0 {
		r.first = len(dst) - before
	}
	return dst
}

// Finish writes the end of the capture. records is how many records it has.
func (r *Recorder) Finish(records uint64) error {
	t := r.Source.Totals()
	r.Buf = capture.AppendEnd(r.Buf, capture.End{
		Time: time.Now(), Pos: t.Pos, Records: records, Discarded: t.Discarded, Lost: t.Lost - r.lost,
	})
	return r.Flush()
}

// HasRecord reports whether the first size bytes of the capture contain a whole record.
func (r *Recorder) HasRecord(size int64) bool {
	return r.first > 0 && size >= int64(r.header+r.first)
}
