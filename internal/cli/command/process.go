package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/rbtool/rbtool/internal/proc"
)

// DescribePID describes a process, given by its pid in the initial pid namespace. Its name is
// included if /proc is that of the initial namespace: "process 12 (sh)".
func DescribePID(pid uint32) string {
	if initial, _ := proc.InitialPIDNamespace(); !initial {
		return DescribeProcess(int(pid), "")
	}
	return DescribeForeign(pid)
}

// DescribeForeign describes a process, given by its pid in the pid namespace of this process. pid is
// 0 for a process outside that namespace.
func DescribeForeign(pid uint32) string {
	if pid == 0 {
		return UnseenProcess
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return DescribeProcess(int(pid), strings.TrimSpace(string(comm)))
}

// UnseenProcess describes a process of which only a mapping of the ring is known.
const UnseenProcess = "a process that cannot be seen from here"

// DescribeProcess describes a process: "process 12 (sh)". comm may be empty.
func DescribeProcess(pid int, comm string) string {
	if comm == "" {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, comm)
}
