package fleet

import (
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// A raw body is the records one after the other, each as
//
//	uvarint  bytes from the end of the record before to this one; 0 for the first one, which is at First
//	varint   nanoseconds from the time of the record before to its own; for the first one from Time
//	uvarint  length
//	         the record
//
// which is 3 bytes more than the record in most cases.

// rawCursor is where the next record of a raw body is relative to.
type rawCursor struct {
	pos  uint64
	time int64 // nanoseconds since 1970
}

// append appends a record at pos, which was read at a time, to a body.
func (c *rawCursor) append(body []byte, pos uint64, at int64, data []byte) []byte {
	body = binary.AppendUvarint(body, pos-c.pos)
	body = binary.AppendVarint(body, at-c.time)
	body = binary.AppendUvarint(body, uint64(len(data)))
	c.pos, c.time = pos+ring.Span(uint32(len(data))), at
	return append(body, data...)
}

// Record is a record of a batch. Data is a part of the batch's body.
type Record struct {
	Pos  uint64
	Time time.Time // when it was read
	Data []byte
}

// All yields the records of a batch that is encoded raw. An error, which matches [ErrFormat], is the last that it yields.
func (b *Batch) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c, body := rawCursor{b.First, b.Time.UnixNano()}, b.Body
		for i := range b.Records {
			skip, n := binary.Uvarint(body)
			since, n2 := binary.Varint(body[max(n, 0):])
			size, n3 := binary.Uvarint(body[max(n, 0)+max(n2, 0):])
			header := max(n, 0) + max(n2, 0) + max(n3, 0)
			if min(n, n2, n3) <= 0 || size > uint64(len(body)-header) {
				yield(Record{}, fmt.Errorf("%w: record %d of %d is cut off", ErrFormat, i+1, b.Records))
				return
			}
			rec := Record{Pos: c.pos + skip, Time: time.Unix(0, c.time+since), Data: body[header : header+int(size)]}
			if !yield(rec, nil) {
				return
			}
			c.pos, c.time = rec.Pos+ring.Span(uint32(size)), c.time+since
			body = body[header+int(size):]
		}
		if len(body) > 0 {
			yield(Record{}, fmt.Errorf("%w: %d bytes follow the last record", ErrFormat, len(body)))
		}
	}
}
