package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/rbtool/rbtool/internal/proc"
)

// describePID names a process by its pid in the initial pid namespace: "process 12 (sh)".
func DescribePID(pid uint32) string {
	if initial, _ := proc.InitialPIDNamespace(); !initial {
		return DescribeProcess(int(pid), "")
	}
	return DescribeForeign(pid)
}

// describeForeign names a process by its pid in this process's pid namespace; 0 stands for
// one that cannot be seen.
func DescribeForeign(pid uint32) string {
	if pid == 0 {
		return UnseenProcess
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return DescribeProcess(int(pid), strings.TrimSpace(string(comm)))
}

// unseenProcess stands for a process of which only a mapping is known.
const UnseenProcess = "a process that cannot be seen from here"

// describeProcess names a process: "process 12 (sh)".
func DescribeProcess(pid int, comm string) string {
	if comm == "" {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, comm)
}
