package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// InitialPIDNamespace reports whether this process is in the initial pid namespace. /proc then
// shows every process, with the pids that BPF programs and kernel structures use. hidepid= can
// still hide processes of other users.
//
// If it returns an error, it reports false, which is safe: the caller loses only what it could
// have read from /proc. A caller that wrongly assumes the initial namespace would mistake the
// pids of a container for those of the host, and act on the wrong processes.
func InitialPIDNamespace() (bool, error) { return inInitial("pid", "pid:[4026531836]") }

// InitialTimeNamespace reports whether this process is in the initial time namespace, where
// start times in /proc are those since boot. With an error it reports false.
func InitialTimeNamespace() (bool, error) { return inInitial("time", "time:[4026531834]") }

// PIDNamespace returns the inode number of a process's pid namespace. dir is the process's
// directory in /proc. Reading it needs permission to trace the process (ptrace(2)).
func PIDNamespace(dir string) (uint32, error) {
	link, err := os.Readlink(dir + "/ns/pid")
	if err != nil {
		return 0, ended(err)
	}
	number, _ := strings.CutPrefix(strings.TrimSuffix(link, "]"), "pid:[")
	inode, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("parse namespace %s: %w", link, err)
	}
	return uint32(inode), nil
}

// inInitial reports whether this process is in the initial namespace of a kind. initial is the
// text of its link in /proc/self/ns: the initial namespaces have fixed inode numbers
// (include/linux/proc_ns.h, PROC_PID_INIT_INO and PROC_TIME_INIT_INO).
func inInitial(kind, initial string) (bool, error) {
	const dir = "/proc/self/ns/"
	link, err := os.Readlink(dir + kind)
	if errors.Is(err, fs.ErrNotExist) {
		// If the kernel lacks CONFIG_PID_NS or CONFIG_TIME_NS, there is no link, and only one
		// namespace. If /proc does not show this process, the directory is missing too: an error.
		_, err = os.Stat(dir)
		return err == nil, err
	}
	return err == nil && link == initial, err
}
