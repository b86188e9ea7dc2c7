package userprod

import (
	"errors"
	"fmt"
	"os"
)

var (
	// ErrFull says that there is no room for the sample until the kernel drains some.
	ErrFull = errors.New("ring is full")
	// ErrTooLarge says that the sample can never fit: see [Producer.MaxSample].
	ErrTooLarge = errors.New("sample is too large")
	// ErrBusy says that another process produces into the ring. The error is a [*BusyError].
	ErrBusy = errors.New("another process produces into the ring")
	// ErrUnseen says that another process may produce into the ring: some processes are
	// hidden, and the kernel's count of mappings cannot be read (see
	// [inspect.Usage.Unseen]). [Options].IgnoreUnseen accepts the risk.
	ErrUnseen = errors.New("another process may produce into the ring")
	// ErrCorrupt says that positions or headers in the ring contradict each
	// other or what this Producer did: somebody else has written there.
	// [Options].Mend gets such a ring going again.
	ErrCorrupt = errors.New("corrupt ring")
	// ErrDone says that a sample had been committed or discarded before, or was
	// never reserved. Nothing was changed.
	ErrDone = errors.New("sample was committed or discarded before")
)

// BusyError names the process that produces into a ring.
type BusyError struct {
	// PID is the process's: of one that has claimed the ring in the initial
	// pid namespace, of a foreign one in that of this process, or 0 if it cannot be
	// seen from there.
	PID uint32
	// Foreign says that the process has not claimed the ring, as this package
	// would, but has its producer page mapped writable, as libbpf's producers have.
	Foreign bool
	// Stolen says that this Producer had claimed the ring until that process took it. PID is
	// 0 if that one has released its claim.
	Stolen bool
	// Unseen says that the process has claimed the ring, cannot be seen from here, and may
	// have ended.
	Unseen bool
}

func (e *BusyError) Error() string {
	switch {
	case e.Foreign && e.PID == 0:
		return "a process that cannot be seen from here has it mapped for producing"
	case e.Foreign:
		return fmt.Sprintf("process %d has it mapped for producing", e.PID)
	case e.Stolen && e.PID == 0:
		return "ring was taken by another process"
	case e.Stolen:
		return fmt.Sprintf("ring was taken by process %d", e.PID)
	case e.Unseen:
		return fmt.Sprintf("claimed by process %d, which cannot be seen from here and may have ended", e.PID)
	}
	return fmt.Sprintf("claimed by process %d", e.PID)
}

// Is makes the error ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

var errClosed = fmt.Errorf("write ring: %w", os.ErrClosed)
