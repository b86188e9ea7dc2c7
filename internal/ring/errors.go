package ring

import "errors"

// ErrCorrupt means that positions, headers or claims in the ring are inconsistent: another
// process wrote to them.
var ErrCorrupt = errors.New("corrupt ring")
