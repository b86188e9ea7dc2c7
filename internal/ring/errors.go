package ring

import "github.com/rbtool/rbtool/internal/sentinel"

// ErrCorrupt means that positions, headers or claims in the ring are inconsistent: another
// process wrote to them.
var ErrCorrupt = sentinel.New(sentinel.Corrupt, "corrupt ring")
