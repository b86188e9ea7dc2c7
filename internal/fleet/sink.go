package fleet

import (
	"context"
	"errors"

	"github.com/rbtool/rbtool/internal/sentinel"
)

// Sink is a message engine.
type Sink interface {
	// Open returns the place for the batches of a ring. It waits while the engine is away, until ctx is done. The caller
	// closes neither the place nor, before it has stopped using the place, the sink.
	Open(ctx context.Context, id Identity) (Place, error)
	Close() error
}

// Place is where the batches of one ring are stored, and those of rings that had its name before.
type Place interface {
	// Stored returns the batch that was stored last, without its Body, or nil if there is none.
	Stored() *Batch
	// Limit returns the maximum length of a body in bytes. It can change when the engine is restarted.
	Limit() int
	// Store stores b behind the batch that was stored last. If it returns nil, the engine has acknowledged b. While the
	// engine is away or full, Store waits and tries again until ctx is done; then b may have been stored or not, which the next
	// call of Store finds out: if b was, and the next batch counts b as dropped, Store deducts b from it. Errors match [ErrFenced], [ErrTooLarge] or [ErrRefused], or are those of ctx.
	Store(ctx context.Context, b *Batch) error
}

// ErrNoStream is matched by errors for a stream that does not exist. It matches [fs.ErrNotExist].
var ErrNoStream = sentinel.New(sentinel.NotFound, "no such stream")

// Errors of sinks. They need another decision of the user, so no sink retries after them.
var (
	ErrFenced   = errors.New("another forwarder writes the batches of this ring")
	ErrTooLarge = errors.New("too large for a message")
	ErrRefused  = errors.New("the server refuses")
	ErrAway     = errors.New("no server answers")
)
