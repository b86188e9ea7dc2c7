// Package netns makes network namespaces for trials and tests, and attaches programs to their
// devices by netlink.
package netns

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lo is the index of the loopback device, which is the same in every namespace.
const Lo = 1

// Run calls f on a thread in a new network namespace and returns its error. The only device of the
// namespace is lo. Goroutines that f starts are not in it. Run needs CAP_SYS_ADMIN.
//
// The namespace ends soon after the last thread, process and socket in it. Its programs are
// released then.
func Run(f func() error) error {
	return OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return f()
	})
}

// OnThread calls f on a thread of its own, which ends when f returns, and returns the error of f.
func OnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // no UnlockOSThread: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// AddQdisc adds a queueing discipline to the device lo of the thread's namespace: "ingress",
// "clsact", or "htb" with handle 1:.
func AddQdisc(kind string) error {
	attrs := netlink.QdiscAttrs{LinkIndex: Lo, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	var q netlink.Qdisc = &netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: kind}
	if kind == "htb" {
		attrs.Handle, attrs.Parent = netlink.MakeHandle(1, 0), netlink.HANDLE_ROOT
		q = netlink.NewHtb(attrs)
	}
	if err := netlink.QdiscAdd(q); err != nil {
		return fmt.Errorf("add qdisc %s: %w", kind, err)
	}
	return nil
}

// AddFilter attaches a program as a filter (cls_bpf, direct action) to the device lo of the thread's
// namespace. parent is a qdisc's handle, netlink.HANDLE_MIN_INGRESS or netlink.HANDLE_MIN_EGRESS.
func AddFilter(parent uint32, p *ebpf.Program) error {
	err := netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: Lo, Parent: parent, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:           p.FD(),
		Name:         "filter",
		DirectAction: true,
	})
	runtime.KeepAlive(p)
	if err != nil {
		return fmt.Errorf("add filter: %w", err)
	}
	return nil
}
