package claim

import (
	"errors"
	"fmt"
)

// ErrBusy means that another opener has claimed the ring. The error is a [*BusyError].
var ErrBusy = errors.New("ring is in use")

// BusyError names the process that has claimed a ring. It matches [ErrBusy].
type BusyError struct {
	// PID is the pid of that process in the initial pid namespace, or in its own pid namespace if
	// the former is unknown. It is 0 if the ring was released meanwhile.
	PID uint32
	// Stolen means that the caller held the claim until that process took it.
	Stolen bool
	// Unseen means that the caller cannot see that process, which may therefore have ended.
	Unseen bool
}

func (e *BusyError) Error() string {
	switch {
	case e.Stolen && e.PID == 0:
		return "ring was taken by another process"
	case e.Stolen:
		return fmt.Sprintf("ring was taken by process %d", e.PID)
	case e.Unseen:
		return fmt.Sprintf("claimed by process %d, which cannot be seen from here and may have ended", e.PID)
	}
	return fmt.Sprintf("claimed by process %d", e.PID)
}

// Is reports whether target is [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }
