package userprod

import (
	"errors"
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// Errors that a caller can act on. Test for them with errors.Is.
var (
	// ErrFull means that the ring has no room for the sample until the kernel drains other samples.
	// Only the Try calls fail with it.
	ErrFull = errors.New("ring is full")
	// ErrTooLarge means that the sample exceeds [Producer.MaxSample].
	ErrTooLarge = errors.New("sample is too large")
	// ErrBusy means that another process, or another Producer of this process, has claimed the
	// ring. The error wraps a [*BusyError].
	ErrBusy = claim.ErrBusy
	// ErrCorrupt means that positions or headers in the ring are inconsistent, or differ from what
	// the Producer wrote, because another process wrote to the ring. [Options].Mend repairs such a
	// ring.
	ErrCorrupt = ring.ErrCorrupt
	// ErrDone means that a [Sample] was committed or discarded already, or was never reserved. The
	// ring is unchanged.
	ErrDone = errors.New("sample was committed or discarded already")
)

// BusyError names the process that has claimed a ring; it matches [ErrBusy]. Its fields are:
//
//	PID    uint32 // pid of that process
//	Stolen bool   // this Producer held the claim until that process took it
//	Unseen bool   // this process cannot see that process, which may have ended
//
// PID is the pid in the initial pid namespace or, if that is unknown, in the pid namespace of that
// process. It is 0 if the ring was released meanwhile. If Unseen is set, [Options].Steal takes the
// ring.
type BusyError = claim.BusyError

var errClosed = fmt.Errorf("write ring: %w", os.ErrClosed)
