package stream

import (
	"context"
	"time"
)

// Paced is a Sink that passes records on at the intervals at which they were recorded.
type Paced struct {
	Sink
	Time func() time.Time // of the record that Append gets: [Capture.Time]

	began time.Time // when the first record was passed on
	first time.Time // when that was recorded
}

// Append implements [Sink]. It flushes before it waits.
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
