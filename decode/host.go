package decode

import "time"

// Host tells text what numbers stand for on the machine that made the records. A nil function, and one that
// returns false or "", leaves the number as it is. The functions are called from the goroutine that uses the
// [Printer].
type Host struct {
	// Time returns the nanoseconds since 1970 at which clock showed v. For [Timestamp] it finds the clock
	// that can have shown v at a time near now.
	Time func(clock Meaning, v uint64) (wall int64, ok bool)
	// Zone is the zone in which times are shown; nil is UTC.
	Zone *time.Location
	// User and Group return the name of a user or group.
	User, Group func(id uint32) string
	// Symbol returns the symbol at an address of the kernel, such as "do_exit+0x12".
	Symbol func(address uint64) string
}

// kernelSpace is the lowest address of the kernel on 64-bit machines with 4 and 5 levels of page tables.
const kernelSpace = 0xff00_0000_0000_0000
