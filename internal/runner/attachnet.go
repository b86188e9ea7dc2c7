package runner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/near"
)

// onDevices attaches to each device.
func onDevices(t Targets, attach func(index int) (io.Closer, error)) ([]io.Closer, error) {
	if len(t.Devices) == 0 {
		return nil, fmt.Errorf("%w: --dev NAME says the network device", ErrUnsaid)
	}
	return each(t.Devices, func(name string) (io.Closer, error) {
		index, err := deviceIndex(name)
		if err != nil {
			return nil, err
		}
		c, err := attach(index)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", name, err)
		}
		return c, nil
	})
}

// deviceIndex returns the index of a network device of this network namespace.
func deviceIndex(name string) (int, error) {
	dev, err := net.InterfaceByName(name)
	if err == nil {
		return dev.Index, nil
	}
	all, listErr := net.Interfaces()
	if listErr != nil {
		return 0, err
	}
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	return 0, explain.Error(fs.ErrNotExist, "there is no network device %s%s", name, near.Hint(name, names))
}

func attachXDP(_ *Object, p *Program, t Targets) ([]io.Closer, error) {
	return onDevices(t, func(index int) (io.Closer, error) {
		l, err := link.AttachXDP(link.XDPOptions{Program: p.Program, Interface: index})
		if errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("%w (another XDP program is attached)", err)
		}
		return l, err
	})
}

// attachTC attaches to tcx: a filter of tc would outlive the process.
func attachTC(_ *Object, p *Program, t Targets) ([]io.Closer, error) {
	at := p.spec.AttachType
	if at != ebpf.AttachTCXEgress {
		at = ebpf.AttachTCXIngress
	}
	return onDevices(t, func(index int) (io.Closer, error) {
		l, err := link.AttachTCX(link.TCXOptions{Program: p.Program, Interface: index, Attach: at})
		if errors.Is(err, ebpf.ErrNotSupported) {
			return nil, explain.Error(err, "this kernel has no tcx (Linux 6.6); a filter of tc would stay after rbtool has ended")
		}
		return l, err
	})
}

func attachNetkit(_ *Object, p *Program, t Targets) ([]io.Closer, error) {
	return onDevices(t, func(index int) (io.Closer, error) {
		return link.AttachNetkit(link.NetkitOptions{Program: p.Program, Interface: index, Attach: p.spec.AttachType})
	})
}

// socket is a packet socket with a filter. Nobody reads it: the filter runs for each packet, and the kernel drops what the
// socket has no room for.
type socket int

// Close implements [io.Closer].
func (s socket) Close() error { return unix.Close(int(s)) }

func attachSocket(_ *Object, p *Program, t Targets) ([]io.Closer, error) {
	return onDevices(t, func(index int) (io.Closer, error) {
		const everything = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open packet socket: %w", err)
		}
		// The filter is set before the socket is bound: it sees every packet that the socket gets.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.FD())
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: index})
		}
		if err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("filter packet socket: %w", err)
		}
		return socket(fd), nil
	})
}

func attachCgroup(_ *Object, p *Program, t Targets) ([]io.Closer, error) {
	if t.Cgroup == "" {
		return nil, fmt.Errorf("%w: --cgroup DIR says the cgroup", ErrUnsaid)
	}
	if _, err := os.Stat(t.Cgroup); err != nil {
		return nil, err
	}
	at := p.spec.AttachType
	if p.section.hook == "cgroup" && strings.HasPrefix(p.section.target, "skb") {
		at = ebpf.AttachCGroupInetIngress
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: t.Cgroup, Attach: at, Program: p.Program})
	if errors.Is(err, unix.EBADF) {
		return nil, explain.Error(fs.ErrInvalid, "%s is not a directory of cgroup2", t.Cgroup)
	}
	return one(l, err)
}

// attachNetNS attaches to the network namespace of this process.
func attachNetNS(_ *Object, p *Program, _ Targets) ([]io.Closer, error) {
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	l, err := link.AttachNetNs(int(ns.Fd()), p.Program)
	if err != nil {
		return nil, err
	}
	return []io.Closer{l}, nil
}

// missingKprobes reports whether the kernel has no kprobes.
func missingKprobes() bool {
	return errors.Is(features.HaveProgramType(ebpf.Kprobe), ebpf.ErrNotSupported) || !exists("/sys/bus/event_source/devices/kprobe") && !tracefsHas("kprobe_events")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
