package consumer

import (
	"context"
	"iter"
)

// Record is one record of a ring.
type Record struct {
	// Data is the payload. A record of a pass lies in the ring itself: read-only memory that
	// is valid until the loop body ends. Copy what must live longer.
	Data []byte
	// Pos is the record's position: bytes from the ring's creation to its header.
	Pos uint64
	// Ring is the index of the record's ring in its [Group], otherwise 0.
	Ring int
}

// Source is a stream of records. [Reader], [Group], [Observer] and the Reader of package capture
// implement it. One goroutine at a time may call Wait, Pass and Err; any may call Close.
type Source interface {
	// Wait blocks until the next pass has something to do. It returns ctx's error if ctx is
	// done first, an error matching [os.ErrClosed] after Close, and [io.EOF] at the end of a
	// source that has one.
	Wait(ctx context.Context) error
	// Pass returns an iterator over the records that are ready when the loop begins, at most
	// limit of them; the source chooses the limit if
	// it is zero. It does not wait. A record is valid
	// until the loop body ends, and stays unread if the loop ends at it.
	Pass(limit int) iter.Seq[Record]
	// Err returns the error that ended the last pass early, or nil.
	Err() error
	// Close ends a wait in progress. It is idempotent.
	Close() error
}

var (
	_ Source = (*Reader)(nil)
	_ Source = (*Group)(nil)
	_ Source = (*Observer)(nil)
)
