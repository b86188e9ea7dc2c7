package claim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	hostproc "github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/proc"
)

// State is what is known about the holder of a claim. The order matters: [Take] displaces a holder
// whose State does not exceed a given State.
type State int

const (
	// Gone: the ring is unclaimed, or the holder has ended or called execve(2).
	Gone State = iota
	// Unknown: this process cannot tell whether the holder lives.
	Unknown
	// Alive: the holder lives.
	Alive
)

// State returns the state of the holder. A word that names no process is Gone. If /proc does not
// show the holder, State runs a BPF program, which requires CAP_BPF and CAP_PERFMON.
func (id ID) State() State {
	state, _ := id.find()
	return state
}

// find returns the state of the holder, and its pid in the initial pid namespace, or in its own pid
// namespace if the former is unknown.
func (id ID) find() (State, uint32) {
	p := id.process()
	if p.pid == 0 {
		return Gone, 0
	}
	if isOpen(id) {
		return Alive, p.pid
	}
	if p == self && p.onHost() {
		return Gone, 0 // an earlier program of this process took the claim, before execve(2)
	}
	if state, pid := p.findInProc(); state != Unknown {
		return state, pid
	}
	return p.findByBPF()
}

// findByBPF looks for p with a BPF program, among all processes of the host except this one.
func (p process) findByBPF() (State, uint32) {
	pid, err := hostproc.Find(hostproc.Wanted{PID: p.pid, Initial: p.onHost(), Namespace: p.ns, Start: p.start})
	switch {
	case err != nil:
		return Unknown, p.pid
	case pid == 0:
		return Gone, 0
	case p.start == 0:
		return Unknown, pid
	}
	return Alive, pid
}

// findInProc looks for p in /proc. If /proc may not show p, the state is Unknown.
func (p process) findInProc() (State, uint32) {
	switch {
	case p.onHost() && !self.onHost():
		return Unknown, p.pid // /proc shows other processes under these pids, or other start times
	case p.onHost():
		return p.inProcOfHost(), p.pid
	case self.onHost():
		return p.scanProc()
	}
	// Both processes may be in one pid namespace. If p equals self, p is either an earlier program
	// of this process or a process in another namespace with the same pid and start time.
	if p != self && p.stateOf(p.pid) == Alive {
		return Alive, p.pid
	}
	return Unknown, p.pid
}

// inProcOfHost is findInProc for the case that both p and this process are in the initial
// namespaces.
func (p process) inProcOfHost() State {
	state := p.stateOf(p.pid)
	// If /proc is mounted with hidepid, it hides the processes of other users, but kill(2) finds
	// them.
	if _, err := os.Lstat(proc.Dir(p.pid)); errors.Is(err, fs.ErrNotExist) && unix.Kill(int(p.pid), 0) != unix.ESRCH {
		return Unknown
	}
	return state
}

// scanProc is findInProc for the case that this process is in the initial namespaces and p is not.
func (p process) scanProc() (State, uint32) {
	pids, err := proc.PIDs()
	// If /proc is mounted with hidepid, it hides process 1.
	if _, hidden := os.Lstat(proc.Dir(1)); err != nil || hidden != nil {
		return Unknown, p.pid
	}
	most := Gone
	for _, pid := range pids {
		switch state := p.stateOf(pid); {
		case pid == self.pid:
		case state == Alive:
			return Alive, pid
		case state == Unknown:
			most = Unknown
		}
	}
	return most, p.pid
}

// stateOf returns Alive if the process with this pid in /proc is p, and Gone if it is another
// process or has ended. If neither can be determined, it returns Unknown.
func (p process) stateOf(pid uint32) State {
	dir := proc.Dir(pid)
	own, err := proc.OwnPID(dir)
	if err == nil && own != p.pid {
		return Gone
	}
	var s proc.Stat
	if err == nil {
		s, err = proc.ReadStat(dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Gone
	case err != nil:
		return Unknown
	case s.Ended() && !hasThreads(dir):
		return Gone
	case p.ns != 0 && !p.maySharePIDNamespace(dir):
		return Gone
	case p.start == startOf(s.Start):
		return Alive
	case p.start != 0 && (p.onHost() || sharesTimeNamespace(dir)):
		return Gone
	}
	return Unknown // the start times are in different time namespaces and cannot be compared
}

// maySharePIDNamespace reports whether the process with the directory dir in /proc may be in the
// pid namespace of p. It returns true if that namespace cannot be read.
func (p process) maySharePIDNamespace(dir string) bool {
	inode, err := proc.PIDNamespace(dir)
	return err != nil || hostproc.NamespaceOf(inode) == p.ns
}

// sharesTimeNamespace reports whether the process with the directory dir in /proc is in the time
// namespace of this process, and so sees the same start times. It returns false if the namespace
// cannot be read.
func sharesTimeNamespace(dir string) bool {
	theirs, err := os.Readlink(dir + "/ns/time")
	ours, ownErr := os.Readlink("/proc/self/ns/time")
	if errors.Is(ownErr, fs.ErrNotExist) {
		return true // the kernel has no time namespaces
	}
	return err == nil && ownErr == nil && theirs == ours
}

// hasThreads reports whether the process with the directory dir in /proc has a live thread. If the
// first thread ends before the others, /proc shows the process as a zombie.
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
