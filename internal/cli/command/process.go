package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/rbtool/rbtool/internal/proc"
)

// DescribePID describes a process, given by its pid in the initial pid namespace: "process 12 (sh)". It
// leaves the name out unless /proc is that of the initial pid namespace.
func DescribePID(pid uint32) string {
	var comm []byte
	if initial, _ := proc.InitialPIDNamespace(); initial {
		comm, _ = os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	}
	return DescribeProcess(int(pid), strings.TrimSpace(string(comm)))
}

// DescribeProcess describes a process: "process 12 (sh)". comm may be empty. pid is 0 if only a mapping
// of the process is known.
func DescribeProcess(pid int, comm string) string {
	switch {
	case pid == 0:
		return "a process that cannot be seen from here"
	case comm == "":
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, comm)
}
