// Package proc parses /proc: the state of processes, their mappings, and the namespaces in
// which /proc shows them.
//
// All functions may be called by many goroutines at once. An error about a process that has
// ended matches [fs.ErrNotExist].
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ClockTick is the unit of times in /proc, in nanoseconds: 1/USER_HZ seconds on all
// architectures (include/uapi/asm-generic/param.h).
const ClockTick = 1_000_000_000 / 100

// Dir returns the directory of a process in /proc.
func Dir(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) }

// PIDs returns the processes in /proc, in no particular order.
func PIDs() ([]uint32, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []uint32
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}

// Stat is the part of /proc/PID/stat that rbtool uses (fs/proc/array.c, do_task_stat).
type Stat struct {
	Comm  string // any bytes but NUL, as the process chose them
	State byte   // 'R', 'S', ..., as in ps(1)
	PPID  uint32 // 0 if the parent is outside the pid namespace
	Start uint64 // in clock ticks since boot, in the reader's time namespace
}

// Ended reports whether the thread has ended: it is a zombie or about to vanish. If it was the
// first thread of its process, other threads can still run.
func (s Stat) Ended() bool { return s.State == 'Z' || s.State == 'X' }

// ReadStat reads the file stat in dir, the directory of a process or of a thread.
func ReadStat(dir string) (Stat, error) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Stat{}, ended(err)
	}
	s, err := parseStat(text)
	if err != nil {
		return Stat{}, fmt.Errorf("parse %s/stat: %w", dir, err)
	}
	return s, nil
}

// ended makes ESRCH match fs.ErrNotExist: the process ended after its file was opened.
func ended(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// parseStat parses "1 (comm) S 0 ...". The comm can contain parentheses and spaces; later
// fields cannot.
func parseStat(text []byte) (Stat, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return Stat{}, errors.New("no name in parentheses")
	}
	const state, ppid, start = 3, 4, 22 // as numbered in proc_pid_stat(5)
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= start-state || len(fields[0]) != 1 {
		return Stat{}, fmt.Errorf("fields are missing: %q", text)
	}
	parent, err := strconv.ParseUint(string(fields[ppid-state]), 10, 32)
	if err != nil {
		return Stat{}, fmt.Errorf("parent: %w", err)
	}
	ticks, err := strconv.ParseUint(string(fields[start-state]), 10, 64)
	if err != nil {
		return Stat{}, fmt.Errorf("start time: %w", err)
	}
	return Stat{string(text[open+1 : end]), fields[0][0], uint32(parent), ticks}, nil
}
