package claim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	hostproc "github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/once"
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
	s, err := readStat("/proc/self/stat")
	return process{uint32(os.Getpid()), s.start}, err
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

// InHostProc reports whether a process has the same pid in /proc as in a claim.
func InHostProc() bool {
	initial, err := inInitial("pid")
	return err == nil && initial
}

// seesHost reports whether the pids and start times in /proc are those of the host.
func seesHost() (bool, error) {
	for _, kind := range []string{"pid", "time"} {
		if initial, err := inInitial(kind); err != nil || !initial {
			return false, err
		}
	}
	return true, nil
}

// The initial namespaces have fixed inode numbers: PROC_PID_INIT_INO and
// PROC_TIME_INIT_INO (include/linux/proc_ns.h).
var initialInode = map[string]string{"pid": "4026531836", "time": "4026531834"}

// inInitial reports whether this process is in the initial namespace of a kind. A time
// namespace shifts the start times that it shows.
func inInitial(kind string) (bool, error) {
	link, err := os.Readlink("/proc/self/ns/" + kind)
	if errors.Is(err, fs.ErrNotExist) && kind == "time" {
		return true, nil // no time namespaces before 5.6, or without CONFIG_TIME_NS
	}
	return link == kind+":["+initialInode[kind]+"]", err
}
