package claim

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	hostproc "github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/proc"
)

// State says what is known of a claim's holder. A greater State is a better right to the ring.
type State int

const (
	// Gone: the ring is unclaimed, or the holder has ended or called execve(2).
	Gone State = iota
	// Unknown: this process cannot tell whether the holder lives.
	Unknown
	// Alive: the holder lives.
	Alive
)

// State returns whether the holder lives. A word that names no process is Gone. If /proc
// belongs to another pid namespace or hides processes, State asks the kernel with a BPF
// program, which takes CAP_BPF and CAP_PERFMON.
func (id ID) State() State {
	if id.PID() == 0 {
		return Gone
	}
	if self, err := identity(); err == nil && self.pid == id.PID() {
		if isOpen(id) {
			return Alive
		}
		return Gone
	}
	p := process{id.PID(), id.start()}
	// A /proc of another namespace has other processes under these pids.
	if host, err := seesHost(); err == nil && host {
		if state := stateInProc(p); state != Unknown {
			return state
		}
	}
	return stateByBPF(p)
}

// stateInProc looks for p in the /proc of the initial pid namespace.
func stateInProc(p process) State {
	dir := proc.Dir(p.pid)
	s, err := proc.ReadStat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A /proc mounted with hidepid hides other users' processes.
		if unix.Kill(int(p.pid), 0) == unix.ESRCH {
			return Gone
		}
		return Unknown
	case err != nil:
		return Unknown
	case s.Ended() && !hasThreads(dir):
		return Gone
	}
	return p.sameAs(startOf(s.Start))
}

func stateByBPF(p process) State {
	found, err := hostproc.Look(p.pid)
	switch {
	case err != nil:
		return Unknown
	case found == nil, !found.Live:
		return Gone
	}
	return p.sameAs(startOf(uint64(found.Start)))
}

// sameAs returns the state of p, given the start time of the living process with its pid.
func (p process) sameAs(start uint32) State {
	if p.start != start {
		return Gone
	}
	return Alive
}

// hasThreads reports whether a thread lives in the process whose directory is dir. A
// first thread that has ended stays a zombie until the last one ends.
func hasThreads(dir string) bool {
	threads, err := filepath.Glob(dir + "/task/*")
	if err != nil {
		return true
	}
	for _, thread := range threads {
		if s, err := proc.ReadStat(thread); err == nil && !s.Ended() {
			return true
		}
	}
	return false
}

// startOf returns the low bits of a start time in clock ticks, never 0: that means no
// process.
func startOf(ticks uint64) uint32 { return max(uint32(ticks)&startMask, 1) }
