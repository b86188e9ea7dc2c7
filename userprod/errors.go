package userprod

import (
	"errors"
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

var (
	// ErrFull means that the ring has no room for the sample until the kernel drains other samples.
	// Only the Try calls return it.
	ErrFull = errors.New("ring is full")
	// ErrTooLarge means that the sample exceeds [Producer.MaxSample].
	ErrTooLarge = errors.New("sample is too large")
	// ErrBusy means that another process, or another Producer of this process, has claimed the
	// ring. The error is a [*BusyError].
	ErrBusy = claim.ErrBusy
	// ErrCorrupt means that positions or headers in the ring are inconsistent, or differ from what
	// the Producer wrote, because another process wrote to the ring. [Options].Mend repairs such a
	// ring.
	ErrCorrupt = ring.ErrCorrupt
	// ErrDone means that a [Sample] was committed or discarded already, or was never reserved. The
	// ring is unchanged.
	ErrDone = errors.New("sample was committed or discarded already")
)

// BusyError names the process that has claimed a ring; it matches [ErrBusy]. PID is the pid of that
// process, in the initial pid namespace if known, otherwise in its own; or 0. Stolen means that the
// process took the ring from this Producer. Unseen means that this process cannot see that process,
// which may therefore have ended: see [Options].Steal.
type BusyError = claim.BusyError

var errClosed = fmt.Errorf("write ring: %w", os.ErrClosed)
