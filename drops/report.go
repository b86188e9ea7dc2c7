package drops

import (
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

// Report has the counts since New.
type Report struct {
	Start, End time.Time
	// Rings has the rings that were asked for, or all that were called, by ascending id.
	Rings []Ring
	// Unattributed is the number of calls that were seen but belong to no ring here, because the table of rings was full or
	// locked.
	Unattributed uint64
	// Missed is the number of calls that are known to have been made but not seen, on any ring.
	Missed uint64
	Notes  []string // what happened meanwhile that limits the counts, a sentence each
}

// Counts counts calls.
type Counts struct {
	Calls, Failed uint64
	// FailedBytes is the space that was refused, with headers and padding. Calls that are invalid for the ring do not
	// count.
	FailedBytes uint64
}

// Ring has the calls on one ring.
type Ring struct {
	ID        ebpf.MapID
	Name      string // empty if it was not seen while the ring existed
	Size      uint64 // bytes of data; 0 if unknown
	Gone      bool   // the ring no longer exists
	Overwrite bool   // mode BPF_F_RB_OVERWRITE

	// Calls are the calls that asked for space, and Failed those that got none. The number of failed calls is at least
	// FailedLow and at most FailedHigh; all three are equal if it is exact. The sums over callers, CPUs and sizes can differ
	// from Failed within these bounds.
	Calls, Failed, FailedLow, FailedHigh uint64
	// CallBytes is the space that was asked for, and FailedBytes the part of it that was refused, with headers and padding.
	// Invalid calls do not count.
	CallBytes, FailedBytes uint64
	// Invalid are the failed calls with flags or a size that the helper refuses for a ring of this size, full or not.
	Invalid uint64
	// Overwritten is the number of bytes of records that made room for others, in overwrite mode. Consumed records are
	// among them.
	Overwritten uint64
	// Needed is the capacity in bytes that would have held the worst burst: what waited in the ring when a call failed, what had been
	// refused since the ring was last empty, and the record itself. It is 0 without failures.
	Needed uint64
	// Contended is the number of calls that began while another CPU reserved in the ring, and so waited for it.
	Contended uint64

	FirstFailure, LastFailure time.Time // zero without failures
	Worst                     Second    // the second with most failures
	Seconds                   []Second  // those with failures, oldest first, the last 600 of them

	Callers []Caller // most failures first, then most calls
	CPUs    []CPU    // those with calls, in ascending order
	Sizes   []Size   // those with calls, in ascending order
}

// Second has the failures of one second.
type Second struct {
	Time                time.Time // its beginning
	Failed, FailedBytes uint64
}

// Caller is a function of a program that called.
type Caller struct {
	Counts
	Program  ebpf.ProgramID // 0 if unknown: it was unloaded before it was seen
	Name     string         // of the program, at most 15 bytes; empty if unknown
	Function string         // function of the program, or of the kernel if it interprets programs; empty if unknown
	Type     ebpf.ProgramType
	Loaded   bool // the program still exists
	Attached []inspect.Attachment
	// MinSize and MaxSize bound the sizes of the records, in bytes, as asked for.
	MinSize, MaxSize uint64
	Address          uint64 // of the instruction after the call, of one call if the function has several; 0 if unknown
}

// CPU has the calls of one CPU.
type CPU struct {
	Counts
	CPU int
}

// Size has the calls for records of a class of sizes.
type Size struct {
	Counts
	Min, Max uint64 // of the class, in bytes, as asked for
}
