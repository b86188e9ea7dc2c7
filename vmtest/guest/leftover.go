package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/proc"
)

// adopt makes this process the parent of its orphaned descendants.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// killDescendants kills and reaps all descendants of this process, also those in other sessions and
// process groups: they have the output port open and would write into the output of the next
// binary. This process must have called adopt, and must not wait for children elsewhere.
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
			// The children of the dead process become children of this process.
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && err != unix.EINTR {
				return fmt.Errorf("wait for leftover process %d: %w", pid, err)
			}
		}
	}
}

// children returns the children of this process, zombies included.
func children() ([]int, error) {
	pids, err := proc.PIDs()
	if err != nil {
		return nil, err
	}
	var found []int
	for _, pid := range pids {
		stat, err := proc.ReadStat(proc.Dir(pid))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		if stat.PPID == uint32(os.Getpid()) {
			found = append(found, int(pid))
		}
	}
	return found, nil
}
