// Package owner names a process in one 64-bit word of memory that processes
// share, and tells whether that process still lives: what a lock in the pages of
// a BPF map needs, since all map descriptors share one inode, which rules out
// file locks.
//
// All functions may be called by many goroutines at once.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// ID names a process of this host: its pid in the initial pid namespace in the
// upper 32 bits, the low bits of its start time in clock ticks in the lower. The pid is
// the same for observers in all namespaces; the start time tells a process from an
// earlier one with its pid, and is 0 where it is not known. The zero ID is nobody.
type ID uint64

func newID(pid, start uint32) ID { return ID(pid)<<32 | ID(start) }

// PID is the process's pid in the initial pid namespace.
func (id ID) PID() uint32 { return uint32(id >> 32) }

func (id ID) start() uint32 { return uint32(id) }

// Self returns the ID of this process. It asks the kernel for the pid, with a
// BPF program, unless the process is in the initial pid namespace; that
// takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN.
var Self = sync.OnceValues(func() (ID, error) {
	pid := uint32(os.Getpid())
	if !inInitial("pid") {
		var err error
		if pid, err = hostPID(); err != nil {
			return 0, fmt.Errorf("find own pid on the host: %w", err)
		}
	}
	return of(pid, "self")
})

// Of returns the ID of the process that has pid in the initial pid namespace,
// where the caller must be.
func Of(pid int) (ID, error) { return of(uint32(pid), strconv.Itoa(pid)) }

// of returns the ID for a pid, whose directory in /proc is named dir.
func of(pid uint32, dir string) (ID, error) {
	// A time namespace shifts the start times that it shows.
	if !inInitial("time") {
		return newID(pid, 0), nil
	}
	start, err := startTime("/proc/" + dir + "/stat")
	if err != nil {
		return 0, fmt.Errorf("find start time of process %d: %w", pid, err)
	}
	return newID(pid, start), nil
}

// Alive reports whether the process lives; nobody does not. From a pid namespace
// other than the initial one processes cannot be seen: then, and whenever else it
// cannot know, Alive answers true.
func (id ID) Alive() bool {
	if id == 0 {
		return false
	}
	if !inInitial("pid") {
		return true
	}
	now, err := Of(int(id.PID()))
	switch {
	case errors.Is(err, errZombie):
		return false
	case errors.Is(err, fs.ErrNotExist):
		// A /proc that was mounted with hidepid hides other users' processes.
		return unix.Kill(int(id.PID()), 0) != unix.ESRCH
	case err != nil, id.start() == 0, now.start() == 0:
		return true
	}
	return now == id
}

// The initial namespaces have fixed inode numbers: PROC_PID_INIT_INO and
// PROC_TIME_INIT_INO (include/linux/proc_ns.h).
var initialInode = map[string]string{"pid": "4026531836", "time": "4026531834"}

// inInitial reports whether this process is in the initial namespace of a kind.
func inInitial(kind string) bool {
	link, err := os.Readlink("/proc/self/ns/" + kind)
	if errors.Is(err, fs.ErrNotExist) && kind == "time" {
		return true // no time namespaces before 5.6, or without CONFIG_TIME_NS
	}
	return link == kind+":["+initialInode[kind]+"]"
}

// errZombie says that a process has ended, and waits for its parent to take note. It holds
// nothing any more.
var errZombie = fmt.Errorf("%w: it has ended", fs.ErrNotExist)

// startTime returns the low bits of field 22 of a stat file (proc(5)).
func startTime(path string) (uint32, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// The second field, the name in parentheses, may hold anything.
	_, rest, _ := strings.Cut(string(text[max(strings.LastIndexByte(string(text), ')'), 0):]), " ")
	fields := strings.Fields(rest)
	const state, start = 3, 22
	if len(fields) <= start-state {
		return 0, fmt.Errorf("parse %s: %d fields", path, len(fields))
	}
	if s := fields[0]; s == "Z" || s == "X" {
		return 0, errZombie
	}
	ticks, err := strconv.ParseUint(fields[start-state], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", path, err)
	}
	return uint32(ticks), nil
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
