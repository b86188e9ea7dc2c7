package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/netpair"
	"github.com/rbtool/rbtool/internal/proc"
)

// napi has the kernel threads that process the packets of a network device. With such threads, the
// CPU time of receiving is separate from that of the senders.
type napi struct{ pids []int }

// threadNAPI makes the device process its packets in threads (NAPI), bound to cpu. It enables GRO
// and disables TSO, so that a device works alike with and without an XDP program: loading one would
// enable GRO on this end and disable TSO on the other (drivers/net/veth.c, veth_xmit).
func threadNAPI(e *netpair.End, cpu int) (n napi, err error) {
	err = e.Do(func() error {
		if err := ethtool(e.Device, unix.ETHTOOL_SGRO, 1); err != nil {
			return err
		}
		// EOPNOTSUPP: the other end has an XDP program, so TSO is off already.
		if err := ethtool(e.Device, unix.ETHTOOL_STSO, 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		// Mount a /sys that shows the thread's network namespace.
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare mounts: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return fmt.Errorf("mount /sys: %w", err)
		}
		return os.WriteFile("/sys/class/net/"+e.Device+"/threaded", []byte("1"), 0)
	})
	if err != nil {
		return n, fmt.Errorf("device %s: %w", e.Device, err)
	}
	if n.pids, err = threadsNamed("napi/" + e.Device + "-"); err != nil {
		return n, err
	}
	var set unix.CPUSet
	set.Set(cpu)
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 50}
	for _, pid := range n.pids {
		if err := errors.Join(unix.SchedSetaffinity(pid, &set), unix.SchedSetAttr(pid, &attr, 0)); err != nil {
			return n, fmt.Errorf("bind thread %d: %w", pid, err)
		}
	}
	return n, nil
}

// threadsNamed returns the processes whose names begin with prefix.
func threadsNamed(prefix string) (pids []int, err error) {
	all, err := proc.PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range all {
		stat, err := proc.ReadStat(proc.Dir(pid))
		if err == nil && strings.HasPrefix(stat.Comm, prefix) {
			pids = append(pids, int(pid))
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("no threads %s*", prefix)
	}
	return pids, nil
}

// cpuTime returns the CPU time of the threads, in ns.
func (n napi) cpuTime() (ns int64, err error) {
	for _, pid := range n.pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		ns += t
	}
	return ns, nil
}

// cpuTime returns the CPU time of a process, in ns. pid 0 is the calling process.
func cpuTime(pid int) (int64, error) {
	clock := int32(unix.CLOCK_PROCESS_CPUTIME_ID)
	if pid != 0 {
		clock = int32(^pid)<<3 | 2 // linux/posix-timers_types.h, CPUCLOCK_SCHED of a process
	}
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return t.Nano(), nil
}

// ethtool sets a feature of a device in this thread's network namespace.
func ethtool(device string, command, value uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("ethtool: %w", err)
	}
	defer unix.Close(fd)
	arg := struct{ command, value uint32 }{command, value} // struct ethtool_value
	request := struct {
		name [unix.IFNAMSIZ]byte
		arg  unsafe.Pointer
		_    [16]byte
	}{arg: unsafe.Pointer(&arg)} // struct ifreq
	copy(request.name[:], device)
	// SAFETY: the kernel accesses request and arg only during the call.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("ethtool command %#x: %w", command, errno)
	}
	return nil
}
