package consumer

import (
	"context"
	"iter"
)

// Record is one record of a ring.
type Record struct {
	// Data is the payload. In a pass it lies in the ring itself, or in a buffer that is reused: it
	// is valid until the loop body ends. Copy what must live longer. Do not write to it in a pass:
	// the ring is mapped read-only, and a write crashes the process. From Read, TryRead and
	// ReadInto it is a copy, which the caller owns.
	Data []byte
	// Pos is the position of the record: the number of bytes that were reserved before its header
	// since the ring was created.
	Pos uint64
	// Ring is the index of the record's ring in its [Group], otherwise 0.
	Ring int
}

// Source is a stream of records. [Reader], [Group], [Observer], [ObserverGroup] and the Reader of package capture
// implement it. One goroutine at a time may call Wait, Pass and Err; any may call Close.
type Source interface {
	// Wait blocks until the next pass has something to do. It returns the error of ctx if ctx is
	// done first, an error matching [os.ErrClosed] after Close, and [io.EOF] at the end of a source
	// that has an end.
	Wait(ctx context.Context) error
	// Pass returns an iterator over the records that are ready when the loop begins, at most limit
	// of them; if limit is zero, the source chooses the limit. Pass does not wait. A record is
	// valid until the loop body ends. A record at which the loop is left stays unread.
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
	_ Source = (*ObserverGroup)(nil)
)
