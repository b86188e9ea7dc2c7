package inspect

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
)

// Home is where a process runs, as its cgroup tells.
type Home struct {
	// Unit is the systemd unit, such as agent.service.
	Unit string
	// Container is the id that its container runtime gave, 64 hex digits for most.
	Container string
	// Pod is the uid of its Kubernetes pod.
	Pod string
}

// String is the shortest name that means something, or "".
func (h Home) String() string {
	if h.Container != "" {
		return h.Container[:min(12, len(h.Container))] // as runtimes print it
	}
	return h.Unit
}

// findHomes fills in the homes of the users. A process that ended, or hides,
// has none.
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

// parseCgroup reads the text of /proc/PID/cgroup: lines of
// hierarchy:controllers:path (cgroups(7)). With version 1 there are several; the first that tells
// something counts for it.
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
	// The runtimes name a container's cgroup by its id, alone or, with systemd,
	// between a prefix and ".scope": docker-ID.scope, cri-containerd-ID.scope, libpod-ID.scope.
	containerID = regexp.MustCompile(`^(?:[a-z][a-z-]*-)?([0-9a-f]{64})(?:\.scope)?$`)
	// The kubelet's: pod1234-..., or with systemd, which takes "-" for a level,
	// kubepods-besteffort-pod1234_....slice.
	podUID = regexp.MustCompile(`^(?:kubepods-(?:[a-z]+-)?)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// homeOf reads a cgroup's path. The innermost name of a kind counts: a
// container's processes may have units of their own.
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
