package arena

import "github.com/rbtool/rbtool/internal/arenamem"

// Errors that a caller can act on. Test for them with errors.Is.
var (
	// ErrAddressTaken means that something else is mapped at the arena's address. The error names it,
	// and matches the kernel's EEXIST.
	ErrAddressTaken = arenamem.ErrAddressTaken
	// ErrPointer means that a pointer is nil, is not aligned, or does not lead to a whole value in the
	// arena.
	ErrPointer = arenamem.ErrPointer
	// ErrAbsent means that an operation touched a page that is not allocated: a pointer is corrupt, or
	// the page was freed. The operation has changed nothing, but may have lost the blocks that it
	// allocated or freed.
	ErrAbsent = arenamem.ErrAbsent
	// ErrFull means that the arena has no free pages at the place, or not enough.
	ErrFull = arenamem.ErrFull
)
