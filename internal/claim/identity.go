package claim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// process is what a claim says of a process: its pid in the initial pid namespace and
// its start time as in an ID.
type process struct{ pid, start uint32 }

// self is this process, once it is known: neither of its members changes while the
// program runs. A failure to find it may pass, and is not kept.
var self struct {
	sync.Mutex
	process
}

// identity returns this process. It asks the kernel for the pid, with a BPF program,
// unless the process is in the initial pid namespace; that takes CAP_BPF and
// CAP_PERFMON, or CAP_SYS_ADMIN.
func identity() (process, error) {
	self.Lock()
	defer self.Unlock()
	if self.pid != 0 {
		return self.process, nil
	}
	pid := uint32(os.Getpid())
	initial, err := inInitial("pid")
	if err != nil {
		return process{}, err
	}
	if !initial {
		if pid, err = hostPID(); err != nil {
			return process{}, fmt.Errorf("find own pid on the host: %w", err)
		}
	}
	start, err := ownStart()
	if err != nil {
		return process{}, err
	}
	self.process = process{pid, start}
	return self.process, nil
}

// ownStart returns the start time of this process, or 0 in a time namespace, which shifts
// the start times that it shows.
func ownStart() (uint32, error) {
	initial, err := inInitial("time")
	if err != nil || !initial {
		return 0, err
	}
	s, err := readStat("/proc/self/stat")
	if err != nil {
		return 0, fmt.Errorf("find own start time: %w", err)
	}
	return s.start, nil
}

// The initial namespaces have fixed inode numbers: PROC_PID_INIT_INO and
// PROC_TIME_INIT_INO (include/linux/proc_ns.h).
var initialInode = map[string]string{"pid": "4026531836", "time": "4026531834"}

// inInitial reports whether this process is in the initial namespace of a kind.
func inInitial(kind string) (bool, error) {
	link, err := os.Readlink("/proc/self/ns/" + kind)
	if errors.Is(err, fs.ErrNotExist) && kind == "time" {
		return true, nil // no time namespaces before 5.6, or without CONFIG_TIME_NS
	}
	return link == kind+":["+initialInode[kind]+"]", err
}

// hostPID returns this process's pid in the initial pid namespace, which is what
// bpf_get_current_pid_tgid gives (kernel/bpf/helpers.c).
func hostPID() (uint32, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "rbtool_pid",
		Type: ebpf.RawTracepoint,
		Instructions: asm.Instructions{
			asm.FnGetCurrentPidTgid.Call(),
			asm.RSh.Imm(asm.R0, 32),
			asm.Return(),
		},
	})
	if err != nil {
		return 0, err
	}
	defer prog.Close()
	return prog.Run(&ebpf.RunOptions{})
}
