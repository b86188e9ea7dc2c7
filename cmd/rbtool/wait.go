package main

import (
	"context"
	"errors"
	"time"
)

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// interrupted says in words that the command was.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return &failure{err: errors.New("interrupted"), status: statusInterrupted}
	}
	return err
}
