package claim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	hostproc "github.com/rbtool/rbtool/internal/bpf/process"
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
	dir := procDir(p.pid)
	s, err := readStat(dir + "/stat")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A /proc mounted with hidepid hides other users' processes.
		if unix.Kill(int(p.pid), 0) == unix.ESRCH {
			return Gone
		}
		return Unknown
	case err != nil:
		return Unknown
	case s.ended && !hasThreads(dir):
		return Gone
	}
	return p.sameAs(s.start)
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

func procDir(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) }

// hasThreads reports whether a thread lives in the process whose directory is dir. A
// first thread that has ended stays a zombie until the last one ends.
func hasThreads(dir string) bool {
	stats, err := filepath.Glob(dir + "/task/*/stat")
	if err != nil {
		return true
	}
	for _, path := range stats {
		if s, err := readStat(path); err == nil && !s.ended {
			return true
		}
	}
	return false
}

// stat is what a stat file in /proc says (proc(5)).
type stat struct {
	ended bool   // a zombie, or dead
	start uint32 // as in an ID
}

func readStat(path string) (stat, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, unix.ESRCH) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err) // it ended between open and read
	}
	if err != nil {
		return stat{}, err
	}
	// The second field, the name in parentheses, may hold anything.
	_, rest, _ := strings.Cut(string(text[max(strings.LastIndexByte(string(text), ')'), 0):]), " ")
	fields := strings.Fields(rest)
	const state, start = 3, 22
	if len(fields) <= start-state {
		return stat{}, fmt.Errorf("parse %s: %d fields", path, len(fields))
	}
	ticks, err := strconv.ParseUint(fields[start-state], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("parse %s: %w", path, err)
	}
	return stat{ended: fields[0] == "Z" || fields[0] == "X", start: startOf(ticks)}, nil
}

// startOf returns the low bits of a start time in clock ticks, never 0: that means no
// process.
func startOf(ticks uint64) uint32 { return max(uint32(ticks)&startMask, 1) }
