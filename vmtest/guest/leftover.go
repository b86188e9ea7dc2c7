package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// adopt makes this process the parent of its orphaned descendants.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// killDescendants kills and reaps all descendants of this process, which has called adopt and waits
// for none elsewhere. Processes in a session or a process group of their own are among them:
// they have the port, and would write into the output of the next binary.
func killDescendants() error {
	for {
		pids, err := children()
		if err != nil {
			return fmt.Errorf("kill leftover processes: %w", err)
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				return fmt.Errorf("kill leftover process %d: %w", pid, err)
			}
			// The children of the dead become ours.
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && err != unix.EINTR {
				return fmt.Errorf("wait for leftover process %d: %w", pid, err)
			}
		}
	}
}

// children returns the children of this process, the dead ones that are not reaped too.
func children() ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		// PID (NAME) STATE PPID ..., where any character may be in the name (proc_pid_stat(5)).
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 {
			return nil, fmt.Errorf("read %s: %q", path, stat)
		}
		if string(fields[1]) != strconv.Itoa(os.Getpid()) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
