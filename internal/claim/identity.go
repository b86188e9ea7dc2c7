package claim

import (
	"fmt"
	"os"

	hostproc "github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/internal/proc"
)

// process identifies a process in a claim: its pid in the initial pid namespace and
// its start time as in an ID.
type process struct{ pid, start uint32 }

// identity returns this process, which does not change while the program runs. A failure
// may be temporary, and is not remembered.
var identity = once.Func(findIdentity)

// findIdentity asks the kernel with a BPF program outside the initial pid and time
// namespaces, which takes CAP_BPF and CAP_PERFMON.
func findIdentity() (process, error) {
	initial, err := seesHost()
	if err != nil {
		return process{}, fmt.Errorf("find own pid on the host: %w", err)
	}
	find := identityByBPF
	if initial {
		find = identityInProc
	}
	p, err := find()
	if err != nil {
		return process{}, fmt.Errorf("find own pid and start time on the host: %w", err)
	}
	return p, nil
}

func identityInProc() (process, error) {
	s, err := proc.ReadStat("/proc/self")
	return process{uint32(os.Getpid()), startOf(s.Start)}, err
}

func identityByBPF() (process, error) {
	pid, err := hostproc.Self()
	if err != nil {
		return process{}, err
	}
	p, err := hostproc.Look(pid)
	if err != nil {
		return process{}, err
	}
	if p == nil {
		return process{}, fmt.Errorf("no process %d", pid)
	}
	return process{pid, startOf(uint64(p.Start))}, nil
}

// seesHost reports whether the pids and start times in /proc are those of the host.
func seesHost() (bool, error) {
	if initial, err := proc.InitialPIDNamespace(); !initial {
		return false, err
	}
	return proc.InitialTimeNamespace()
}
