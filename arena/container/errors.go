package container

import (
	"errors"

	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/sentinel"
)

// Errors that a caller can act on. Test for them with errors.Is. Operations can also fail with
// [arena.ErrPointer] and [arena.ErrAbsent].
var (
	// ErrFormat means that the arena, or the named object, has another layout than expected: it was not
	// created by this package, or by a version that this one does not know.
	ErrFormat = arenamem.ErrFormat
	// ErrCorrupt means that data in the arena is inconsistent: something else wrote to it.
	ErrCorrupt = arenamem.ErrCorrupt
	// ErrFull means that the heap, a queue or the list of roots has no room left. It is the same error
	// as [arena.ErrFull].
	ErrFull = arenamem.ErrFull
	// ErrTooLarge means that a size, or the length of a name, is outside its fixed limits.
	ErrTooLarge = arenamem.ErrTooLarge
	// ErrNotAllocated means that a pointer to be freed is not an allocated block: the block was freed
	// before, or there is no block at the address.
	ErrNotAllocated = arenamem.ErrNotAllocated
	// ErrNotFound means that there is no such key or root. It matches fs.ErrNotExist.
	ErrNotFound = sentinel.New(sentinel.NotFound, "not found")
	// ErrExists means that the key or root exists already.
	ErrExists = errors.New("exists already")
	// ErrContended means that an operation gave up, after about a million attempts, because others
	// changed the same data meanwhile: try again. A walk over a [List] ends with it at the first change
	// that disturbs the walk.
	ErrContended = arenamem.ErrContended
	// ErrEmpty means that a list or queue is empty.
	ErrEmpty = errors.New("empty")
)
