package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// InitialPIDNamespace reports whether this process is in the initial pid namespace: its
// /proc then shows every process, under the pids that BPF programs and kernel
// structures use. hidepid= can still hide processes of other users.
//
// With an error it reports false. A caller that takes pids of a container for those of the
// host acts on the wrong processes, or misses some and says nothing; in the opposite
// case it loses only what it could have read from /proc.
func InitialPIDNamespace() (bool, error) { return inInitial("pid", "pid:[4026531836]") }

// InitialTimeNamespace reports whether this process is in the initial time namespace, where
// start times in /proc are those since boot. With an error it reports false.
func InitialTimeNamespace() (bool, error) { return inInitial("time", "time:[4026531834]") }

// PIDNamespace returns the inode number of the pid namespace of the process whose directory is
// dir. To read it takes the right to trace the process.
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

// inInitial reports whether the link of a kind of namespace leads to the initial one. The
// initial namespaces have fixed inode numbers (include/linux/proc_ns.h, PROC_PID_INIT_INO
// and PROC_TIME_INIT_INO).
func inInitial(kind, initial string) (bool, error) {
	const dir = "/proc/self/ns/"
	link, err := os.Readlink(dir + kind)
	if errors.Is(err, fs.ErrNotExist) {
		// Without CONFIG_PID_NS or CONFIG_TIME_NS there is no link, and one namespace. Without
		// a /proc that has this process, the directory is missing too.
		_, err = os.Stat(dir)
		return err == nil, err
	}
	return err == nil && link == initial, err
}
