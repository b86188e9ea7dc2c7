package claim

import (
	"os"

	"github.com/rbtool/rbtool/internal/proc"
)

// process identifies a process in a claim, see [ID].
type process struct {
	pid, start uint32
	host       bool
}

// self is this process. It is read when the program starts, since an opener must not open
// files.
var self = readSelf()

func readSelf() process {
	p := process{pid: uint32(os.Getpid())}
	s, err := proc.ReadStat("/proc/self")
	if err != nil {
		return p
	}
	p.start = startOf(s.Start)
	// An error counts as another namespace: then a claim is looked up by what is in it.
	pids, _ := proc.InitialPIDNamespace()
	times, _ := proc.InitialTimeNamespace()
	p.host = pids && times
	return p
}

// startOf returns the low bits of a start time in clock ticks, never 0: that is unknown.
func startOf(ticks uint64) uint32 { return max(uint32(ticks)&startMask, 1) }
