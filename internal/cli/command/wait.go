package command

import (
	"context"
	"errors"
	"time"
)

// Pause waits for d or until ctx is done.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Interrupted replaces the error of a canceled context by one that says so in words.
func Interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return WithStatus(errors.New("interrupted"), StatusInterrupted)
	}
	return err
}
