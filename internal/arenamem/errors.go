package arenamem

import (
	"errors"
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/sentinel"
)

// Errors that packages arena and container export, except for ErrNil and ErrClosed.
var (
	ErrAddressTaken = errors.New("address is taken")
	ErrPointer      = errors.New("invalid arena pointer")
	ErrNil          = fmt.Errorf("%w: nil", ErrPointer)
	ErrAbsent       = errors.New("arena page is not allocated")
	ErrFormat       = errors.New("unknown arena layout")
	ErrCorrupt      = sentinel.New(sentinel.Corrupt, "corrupt arena")
	ErrFull         = errors.New("arena is full")
	ErrTooLarge     = errors.New("too large")
	ErrNotAllocated = errors.New("block is not allocated (a double free?)")
	ErrContended    = errors.New("disturbed by concurrent changes")

	// ErrClosed is what every operation returns after Close.
	ErrClosed = fmt.Errorf("use arena: %w", os.ErrClosed)
)
