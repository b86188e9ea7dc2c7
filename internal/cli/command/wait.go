package command

import (
	"context"
	"errors"
	"time"
)

// pause waits for d, or until ctx is done.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// interrupted says in words that the command was.
func Interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return WithStatus(errors.New("interrupted"), StatusInterrupted)
	}
	return err
}
