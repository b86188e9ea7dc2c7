package userprod

import (
	"errors"
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

var (
	// ErrFull means that the ring has no room for the sample until the kernel drains some.
	// Only the Try calls return it.
	ErrFull = errors.New("ring is full")
	// ErrTooLarge means that the sample can never fit, see [Producer.MaxSample].
	ErrTooLarge = errors.New("sample is too large")
	// ErrBusy means that another process, or another Producer of this one, has claimed the
	// ring. The error is a [*BusyError].
	ErrBusy = claim.ErrBusy
	// ErrCorrupt means that positions or headers in the ring are inconsistent, or differ
	// from what the Producer wrote: another process wrote to the ring. [Options].Mend
	// repairs such a ring.
	ErrCorrupt = ring.ErrCorrupt
	// ErrDone means that a [Sample] was committed or discarded before, or was never
	// reserved. Nothing was changed.
	ErrDone = errors.New("sample was committed or discarded before")
)

// BusyError names the process that has claimed a ring. PID is its pid, in the initial pid
// namespace if it is known there, or 0. Stolen means that it took the ring from this Producer.
// Unseen means that it cannot be seen from here and may have ended, see [Options].Steal. The
// error matches [ErrBusy].
type BusyError = claim.BusyError

var errClosed = fmt.Errorf("write ring: %w", os.ErrClosed)
