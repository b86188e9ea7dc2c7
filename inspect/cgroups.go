package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// cgroupAttachTypes are the attach types in a cgroup for each type of program (kernel/bpf/syscall.c,
// attach_type_to_prog_type).
var cgroupAttachTypes = map[ebpf.ProgramType][]ebpf.AttachType{
	ebpf.CGroupSKB:    {ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress},
	ebpf.CGroupDevice: {ebpf.AttachCGroupDevice},
	ebpf.CGroupSysctl: {ebpf.AttachCGroupSysctl},
	ebpf.SockOps:      {ebpf.AttachCGroupSockOps},
	ebpf.LSM:          {ebpf.AttachLSMCgroup},
	ebpf.CGroupSock: {
		ebpf.AttachCGroupInetSockCreate, ebpf.AttachCgroupInetSockRelease,
		ebpf.AttachCGroupInet4PostBind, ebpf.AttachCGroupInet6PostBind,
	},
	ebpf.CGroupSockopt: {ebpf.AttachCGroupGetsockopt, ebpf.AttachCGroupSetsockopt},
	ebpf.CGroupSockAddr: {
		ebpf.AttachCGroupInet4Bind, ebpf.AttachCGroupInet6Bind,
		ebpf.AttachCGroupInet4Connect, ebpf.AttachCGroupInet6Connect, ebpf.AttachCgroupUnixConnect,
		ebpf.AttachCgroupInet4GetPeername, ebpf.AttachCgroupInet6GetPeername, ebpf.AttachCgroupUnixGetpeername,
		ebpf.AttachCgroupInet4GetSockname, ebpf.AttachCgroupInet6GetSockname, ebpf.AttachCgroupUnixGetsockname,
		ebpf.AttachCGroupUDP4Sendmsg, ebpf.AttachCGroupUDP6Sendmsg, ebpf.AttachCgroupUnixSendmsg,
		ebpf.AttachCGroupUDP4Recvmsg, ebpf.AttachCGroupUDP6Recvmsg, ebpf.AttachCgroupUnixRecvmsg,
	},
}

// addCgroups adds the programs attached without a link to cgroups, in the unified hierarchy that is mounted in
// this mount namespace.
func (p *places) addCgroups() {
	var attachTypes []ebpf.AttachType
	for typ, list := range cgroupAttachTypes {
		if p.any(typ) {
			attachTypes = append(attachTypes, list...)
		}
	}
	if len(attachTypes) == 0 {
		return
	}
	root, err := cgroup2Root()
	if err != nil {
		p.notes = append(p.notes, fmt.Sprintf("attach points in cgroups without a link unknown: %v", err))
		return
	}
	var denied error
	// Skip cgroups that cannot be read: a cgroup can vanish at any time.
	_ = filepath.WalkDir(root, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil
		}
		attachTypes, err = p.queryCgroup(root, dir, attachTypes)
		if errors.Is(err, unix.EPERM) {
			denied = err
			return fs.SkipAll
		}
		return nil
	})
	if denied != nil {
		p.notes = append(p.notes, fmt.Sprintf("attach points in cgroups without a link unknown: %v (needs CAP_NET_ADMIN)", unix.EPERM))
	}
}

// queryCgroup adds the programs attached to the cgroup dir in the hierarchy root. It returns those of attachTypes that the kernel knows.
func (p *places) queryCgroup(root, dir string, attachTypes []ebpf.AttachType) ([]ebpf.AttachType, error) {
	cgroup, err := os.Open(dir)
	if err != nil {
		return attachTypes, err
	}
	defer cgroup.Close()
	var denied error
	left := slices.DeleteFunc(attachTypes, func(t ebpf.AttachType) bool {
		err := p.query(int(cgroup.Fd()), t, Attachment{Type: "cgroup", Target: cgroupTarget(uint32(t), cgroupName(root, dir))})
		if errors.Is(err, unix.EPERM) {
			denied = err
		}
		return errors.Is(err, unix.EINVAL) // this kernel does not know the attach type
	})
	return left, denied
}

// cgroup2Root returns the mount point of the unified cgroup hierarchy.
func cgroup2Root() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("no cgroup2 is mounted")
}
