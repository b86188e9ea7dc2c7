package claim

import (
	"os"

	hostproc "github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/proc"
)

// process identifies a process in a claim. Its fields are described at [ID].
type process struct{ pid, start, ns uint32 }

// onHost reports whether p is in the initial pid and time namespaces.
func (p process) onHost() bool { return p.ns == 0 && p.start != 0 }

// self is this process. It is initialised when the program starts, because an opener must not open
// files.
var self = readSelf()

func readSelf() process {
	unknown := process{pid: uint32(os.Getpid())}
	s, err := proc.ReadStat("/proc/self")
	if err != nil {
		return unknown
	}
	p := process{pid: unknown.pid, start: startOf(s.Start)}
	pids, err := proc.InitialPIDNamespace()
	times, e := proc.InitialTimeNamespace()
	if pids && times {
		return p
	}
	inode, notFound := proc.PIDNamespace("/proc/self")
	if err != nil || e != nil || notFound != nil {
		return unknown
	}
	p.ns = hostproc.NamespaceOf(inode)
	return p
}

// startOf returns the low bits of a start time in clock ticks. It never returns 0, which means
// unknown.
func startOf(ticks uint64) uint32 { return max(uint32(ticks)&startMask, 1) }
