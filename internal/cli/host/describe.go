package host

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/inspect"
)

// flagNames are those of rings and arenas, include/uapi/linux/bpf.h.
var flagNames = []struct {
	bit  uint32
	name string
}{
	{unix.BPF_F_NUMA_NODE, "numa_node"},
	{unix.BPF_F_MMAPABLE, "mmapable"},
	{1 << 17, "segv_on_fault"},
	{1 << 18, "no_user_conv"},
	{1 << 19, "rb_overwrite"},
}

// describeFlags names the flags that have a name.
func describeFlags(flags uint32) string {
	var names []string
	for _, f := range flagNames {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	if names == nil {
		return fmt.Sprintf("%#x", flags)
	}
	return fmt.Sprintf("%#x (%s)", flags, strings.Join(names, ", "))
}

// describeMemory says how much memory the kernel holds for m.
func describeMemory(m *inspect.Map) string {
	switch {
	case m.Arena != nil && m.Arena.Pages != nil:
		all := m.Bytes / uint64(os.Getpagesize())
		return fmt.Sprintf("%d bytes: %d of %d pages, %.1f%%", m.Memory, *m.Arena.Pages, all, arenaFill(m))
	case m.Positions == nil && m.Memory == 0:
		return "unknown: this kernel does not count an arena's pages (Linux 7.3 does)"
	}
	return fmt.Sprintf("%d bytes", m.Memory)
}

// arenaFill is the part of an arena that is allocated, in percent.
func arenaFill(m *inspect.Map) float64 {
	return 100 * float64(*m.Arena.Pages) * float64(os.Getpagesize()) / float64(m.Bytes)
}
