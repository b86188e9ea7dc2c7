package inspect

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
)

// Home is where a process runs, according to its cgroup. Unknown fields are empty.
type Home struct {
	// Unit is the systemd unit, such as agent.service.
	Unit string
	// Container is the id from the container runtime, usually 64 hex digits.
	Container string
	// Pod is the uid of its Kubernetes pod.
	Pod string
}

// String returns the first 12 digits of the container, or else the unit.
func (h Home) String() string {
	if h.Container != "" {
		return h.Container[:min(12, len(h.Container))] // the form that container runtimes print
	}
	return h.Unit
}

// findHomes sets Home of the users. It stays empty for a process that has ended or is hidden.
func (u *Usage) findHomes() {
	homes := map[int]Home{}
	for _, list := range u.Users {
		for i, user := range list {
			h, seen := homes[user.PID]
			if !seen {
				text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", user.PID))
				h = parseCgroup(string(text))
				homes[user.PID] = h
			}
			list[i].Home = h
		}
	}
}

// parseCgroup parses the text of /proc/PID/cgroup: lines of hierarchy:controllers:path (cgroups(7)).
// With cgroups version 1 there are several lines; each field of Home comes from the first line that has it.
func parseCgroup(text string) Home {
	var h Home
	for line := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		_, dir, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		found := homeOf(dir)
		if h.Unit == "" {
			h.Unit = found.Unit
		}
		if h.Container == "" {
			h.Container = found.Container
		}
		if h.Pod == "" {
			h.Pod = found.Pod
		}
	}
	return h
}

var (
	// The name of a container's cgroup is the container's ID, or if systemd manages cgroups docker-ID.scope,
	// cri-containerd-ID.scope or libpod-ID.scope.
	containerID = regexp.MustCompile(`^(?:[a-z][a-z-]*-)?([0-9a-f]{64})(?:\.scope)?$`)
	// The kubelet names a pod's cgroup pod1234-..., or if systemd manages cgroups
	// kubepods-besteffort-pod1234_....slice, with "_" for "-", which separates levels there.
	podUID = regexp.MustCompile(`^(?:kubepods-(?:[a-z]+-)?)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// homeOf parses a cgroup's path. If several names are of one kind, it takes the innermost: a container's
// processes can have units of their own.
func homeOf(dir string) Home {
	var h Home
	for _, name := range strings.Split(path.Clean(dir), "/") {
		if m := containerID.FindStringSubmatch(name); m != nil {
			h.Container = m[1]
		} else if m := podUID.FindStringSubmatch(name); m != nil {
			h.Pod = strings.ReplaceAll(m[1], "_", "-")
		} else if strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope") {
			h.Unit = name
		}
	}
	return h
}
