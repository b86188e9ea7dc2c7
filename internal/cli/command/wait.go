package command

import (
	"context"
	"errors"
	"time"
)

// Pause waits for the duration d, or until ctx is done if that is earlier.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Interrupted replaces the error of a canceled context by one with the text "interrupted".
func Interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return WithStatus(errors.New("interrupted"), StatusInterrupted)
	}
	return err
}
