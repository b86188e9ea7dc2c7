package inspect

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestParseCgroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	const uid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
	docker := Home{Container: id, Runtime: "docker"}
	under := strings.ReplaceAll(uid, "-", "_")
	for _, tt := range []struct {
		what, text string
		want       Home
	}{
		{"nothing", "", Home{}},
		{"the root", "0::/\n", Home{}},
		{"a systemd service", "0::/system.slice/cilium-agent.service\n", Home{Unit: "cilium-agent.service"}},
		{"a service's own subgroup", "0::/system.slice/agent.service/workers\n", Home{Unit: "agent.service"}},
		{"a user's session", "0::/user.slice/user-1000.slice/session-3.scope\n", Home{Unit: "session-3.scope"}},
		{"a user's service", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service\n", Home{Unit: "editor.service"}},
		{"docker with cgroupfs", "0::/docker/" + id + "\n", docker},
		{"docker with systemd", "0::/system.slice/docker-" + id + ".scope\n", docker},
		{"podman", "0::/machine.slice/libpod-" + id + ".scope/container\n", Home{Container: id, Runtime: "podman"}},
		{"a user's podman", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope/container\n",
			Home{Unit: "user@1000.service", Container: id, Runtime: "podman"}},
		{"nerdctl", "0::/system.slice/nerdctl-" + id + ".scope\n", Home{Container: id, Runtime: "nerdctl"}},
		{"containerd's namespace", "0::/default/" + id + "\n", Home{Container: id}},
		{"lxc", "0::/lxc.payload.web-1/system.slice/nginx.service\n", Home{Unit: "nginx.service", Container: "web-1", Runtime: "lxc"}},
		{"lxc 3", "0::/lxc/web-1/init.scope\n", Home{Unit: "init.scope", Container: "web-1", Runtime: "lxc"}},
		{"the monitor of lxc", "0::/lxc.monitor.web-1\n", Home{}},
		{"systemd-nspawn", "0::/machine.slice/systemd-nspawn@web.service/payload\n", Home{Unit: "systemd-nspawn@web.service"}},
		{"containerd under the kubelet, systemd",
			"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id + ".scope\n",
			Home{Container: id, Pod: uid, Runtime: "containerd"}},
		{"containerd that is not told of systemd",
			"0::/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + id + "\n",
			Home{Unit: "containerd.service", Container: id, Pod: uid, Runtime: "containerd"}},
		{"kind: a pod in docker", "0::/docker/" + strings.Repeat("f", 64) + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/cri-containerd-" + id + ".scope\n",
			Home{Container: id, Pod: uid, Runtime: "containerd"}},
		{"a guaranteed pod", "0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope\n", Home{Container: id, Pod: uid, Runtime: "cri-o"}},
		{"the kubelet with cgroupfs", "0::/kubepods/besteffort/pod" + uid + "/" + id + "\n", Home{Container: id, Pod: uid}},
		{"a static pod", "0::/kubepods/burstable/pod" + id[:32] + "/" + id + "\n", Home{Container: id, Pod: id[:32]}},
		{"systemd in a container", "0::/docker/" + id + "/system.slice/nginx.service\n", Home{Unit: "nginx.service", Container: id, Runtime: "docker"}},
		{"seen from another cgroup namespace", "0::/../../system.slice/agent.service\n", Home{Unit: "agent.service"}},
		{"version 1", "12:pids:/docker/" + id + "\n2:cpu,cpuacct:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n0::/system.slice/containerd.service\n",
			Home{Unit: "containerd.service", Container: id, Runtime: "docker"}},
		{"what only looks like an id", "0::/docker/" + id[:63] + "\n", Home{}},
		{"lines that are none", "0\n0:\n::\n\x00\n", Home{}},
		{"a name with a colon", "0::/system.slice/a:b.service\n", Home{Unit: "a:b.service"}},
	} {
		if diff := gocmp.Diff(tt.want, parseCgroup(tt.text)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.what, diff)
		}
	}
}

func TestHomeString(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for want, h := range map[string]Home{
		"":                       {},
		"agent.service":          {Unit: "agent.service"},
		"docker:0123456789ab":    {Unit: "agent.service", Container: id, Pod: "x", Runtime: "docker"},
		"container:0123456789ab": {Container: id},
		"lxc:web-1":              {Container: "web-1", Runtime: "lxc"},
	} {
		if got := h.String(); got != want {
			t.Errorf("%+v: %q, want %q", h, got, want)
		}
	}
}
