package stream

import (
	"context"
	"time"
)

// Paced is a Sink that passes records to another Sink, at the intervals at which they were recorded.
type Paced struct {
	Sink
	Time func() time.Time // Time returns when the record passed to Append was recorded: see [Capture.Time].

	began time.Time // when this Sink passed on the first record
	first time.Time // when the first record was recorded
}

// Append implements [Sink]. Before it waits it flushes the records so far.
func (p *Paced) Append(ctx context.Context, rec *Record) error {
	at := p.Time()
	if p.began.IsZero() {
		p.began, p.first = time.Now(), at
	}
	if left := at.Sub(p.first) - time.Since(p.began); left > 0 {
		if err := p.Sink.Flush(); err != nil {
			return err
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	return p.Sink.Append(ctx, rec)
}
