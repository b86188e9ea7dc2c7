package inspect

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
)

// Home is where a process runs, according to its cgroup. Unknown fields are empty. The names are those of cgroups,
// which can have any bytes.
type Home struct {
	// Unit is the systemd unit, such as agent.service.
	Unit string
	// Runtime is what runs the container: docker, containerd, nerdctl, cri-o, podman, buildah or lxc.
	Runtime string
	// Container is the id from the container runtime, usually 64 hex digits, or the name of an lxc container.
	Container string
	// Pod is the uid of its Kubernetes pod.
	Pod string
}

// String returns the runtime and the first 12 digits of the container, or else the unit.
func (h Home) String() string {
	if h.Container == "" {
		return h.Unit
	}
	id := h.Container
	if bareID.MatchString(id) {
		id = id[:12] // the form that container runtimes print
	}
	return cmp.Or(h.Runtime, "container") + ":" + id
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
		h.Unit = cmp.Or(h.Unit, found.Unit)
		h.Pod = cmp.Or(h.Pod, found.Pod)
		if h.Container == "" || h.Runtime == "" && h.Container == found.Container {
			h.Container, h.Runtime = found.Container, found.Runtime
		}
	}
	return h
}

var (
	bareID = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// The name of a container's cgroup is the container's ID, or if systemd manages cgroups docker-ID.scope,
	// cri-containerd-ID.scope or libpod-ID.scope. A runtime that takes the name for a path although it is
	// meant for systemd makes SLICE:cri-containerd:ID.
	containerID = regexp.MustCompile(`^(?:[^:]*:)?(?:([a-z][a-z-]*)[-:])?([0-9a-f]{64})(?:\.scope)?$`)
	// LXC's library names the cgroup lxc.payload.NAME, or lxc/NAME before version 4 (cgroups/cgfsng.c).
	lxcPayload = "lxc.payload."
	// The kubelet names a pod's cgroup pod1234-..., or if systemd manages cgroups
	// kubepods-besteffort-pod1234_....slice, with "_" for "-", which separates levels there.
	podUID = regexp.MustCompile(`^(?:(?:[a-z]+-)*kubepods-(?:[a-z]+-)?)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?::.*)?$`)
)

// runtimes names the container runtimes by what they put before the id.
var runtimes = map[string]string{
	"docker": "docker", "cri-containerd": "containerd", "nerdctl": "nerdctl", "crio": "cri-o", "crio-conmon": "cri-o",
	"libpod": "podman", "libpod-conmon": "podman", "buildah": "buildah",
}

// homeOf parses a cgroup's path. If several names are of one kind, it takes the innermost: a container's
// processes can have units of their own.
func homeOf(dir string) Home {
	var h Home
	parent := ""
	for _, name := range strings.Split(path.Clean(dir), "/") {
		if m := podUID.FindStringSubmatch(name); m != nil {
			h.Pod = strings.ReplaceAll(m[1], "_", "-")
		}
		payload, isPayload := strings.CutPrefix(name, lxcPayload)
		if m := containerID.FindStringSubmatch(name); m != nil {
			h.Container, h.Runtime = m[2], runtimes[cmp.Or(m[1], parent)]
		} else if isPayload {
			h.Container, h.Runtime = payload, "lxc"
		} else if parent == "lxc" {
			h.Container, h.Runtime = name, "lxc"
		} else if strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope") {
			h.Unit = name
		}
		parent = name
	}
	return h
}
