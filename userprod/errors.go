package userprod

import (
	"errors"
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

var (
	// ErrFull says that there is no room for the sample until the kernel drains some.
	ErrFull = errors.New("ring is full")
	// ErrTooLarge says that the sample can never fit: see [Producer.MaxSample].
	ErrTooLarge = errors.New("sample is too large")
	// ErrBusy says that another process produces into the ring. The error is a [*BusyError].
	ErrBusy = claim.ErrBusy
	// ErrUnseen says that another process may produce into the ring: some processes are
	// hidden, and the kernel's count of mappings cannot be read (see
	// [inspect.Usage.Unseen]). [Options].IgnoreUnseen accepts the risk.
	ErrUnseen = errors.New("another process may produce into the ring")
	// ErrCorrupt says that positions or headers in the ring contradict each
	// other or what this Producer did: somebody else has written there.
	// [Options].Mend gets such a ring going again.
	ErrCorrupt = ring.ErrCorrupt
	// ErrDone says that a sample had been committed or discarded before, or was
	// never reserved. Nothing was changed.
	ErrDone = errors.New("sample was committed or discarded before")
)

// BusyError names the process that produces into a ring.
type BusyError = claim.BusyError

var errClosed = fmt.Errorf("write ring: %w", os.ErrClosed)
