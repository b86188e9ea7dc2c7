package arena

import "github.com/rbtool/rbtool/internal/arenamem"

// Errors that a caller can act on. Test for them with errors.Is.
var (
	// ErrAddressTaken means that something else is mapped at the arena's address in this process, or
	// that no free window was found. In the former case the error lists these mappings, and matches the
	// kernel's EEXIST.
	ErrAddressTaken = arenamem.ErrAddressTaken
	// ErrPointer means that a pointer is nil or not aligned, or that its value is not wholly inside the
	// arena.
	ErrPointer = arenamem.ErrPointer
	// ErrAbsent means that an operation accessed a page that is not allocated: a pointer is corrupt, or
	// the page was freed. The operation has changed nothing, but heap blocks that it allocated or freed
	// may be lost: they are neither used nor free.
	ErrAbsent = arenamem.ErrAbsent
	// ErrFull means that the arena has too few free pages, or that a requested page is not free. It is
	// the same error as ErrFull of package container.
	ErrFull = arenamem.ErrFull
)
