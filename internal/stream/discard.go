package stream

import "context"

// Discard is a Sink that takes records and does nothing with them, for callers that only count.
type Discard struct{}

// Append implements [Sink].
func (Discard) Append(context.Context, *Record) error { return nil }

// Flush implements [Sink].
func (Discard) Flush() error { return nil }
