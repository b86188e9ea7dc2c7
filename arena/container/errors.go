package container

import (
	"errors"

	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/sentinel"
)

// Errors that a caller can act on. Operations also fail with [arena.ErrPointer] and
// [arena.ErrAbsent].
var (
	// ErrFormat says that what lies in the arena was not made by this package, or
	// by a version of it that is not known.
	ErrFormat = arenamem.ErrFormat
	// ErrCorrupt says that what lies in the arena contradicts itself.
	ErrCorrupt = arenamem.ErrCorrupt
	// ErrFull says that the arena, a queue or the table of roots has no room left.
	ErrFull = arenamem.ErrFull
	// ErrTooLarge says that an allocation or value can never fit.
	ErrTooLarge = arenamem.ErrTooLarge
	// ErrNotAllocated says that what was to be freed is not allocated: it was freed before,
	// or never was.
	ErrNotAllocated = arenamem.ErrNotAllocated
	// ErrNotFound says that there is no such key or root.
	ErrNotFound = sentinel.New(sentinel.NotFound, "not found")
	// ErrExists says that there is such a key or root already.
	ErrExists = errors.New("exists already")
	// ErrContended says that others changed the same word for too long; try again.
	ErrContended = arenamem.ErrContended
	// ErrEmpty says that a list or queue has nothing in it.
	ErrEmpty = errors.New("empty")
)
