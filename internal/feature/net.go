package feature

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/rbtool/rbtool/internal/netns"
)

// veth creates a pair of veth devices.
func veth() error {
	return netns.Run(func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}, PeerName: "probe1"}); err != nil {
			return fmt.Errorf("add veth: %w", err)
		}
		return nil
	})
}

// qdisc returns a trial that adds a queueing discipline.
func qdisc(kind string) func() error {
	return func() error { return netns.Run(func() error { return netns.AddQdisc(kind) }) }
}

// withClassifier calls f with an empty tc program in a new network namespace.
func withClassifier(f func(*ebpf.Program) error) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, License: "GPL",
	})
	if err != nil {
		return fmt.Errorf("load classifier: %w", err)
	}
	defer p.Close()
	return netns.Run(func() error { return f(p) })
}

// clsBPF attaches a program as a tc filter (cls_bpf).
func clsBPF() error {
	return withClassifier(func(p *ebpf.Program) error {
		if err := netns.AddQdisc("ingress"); err != nil {
			return err
		}
		return netns.AddFilter(netlink.HANDLE_MIN_INGRESS, p)
	})
}

// tcx attaches a program to the ingress of a device by tcx, which needs no qdisc.
func tcx() error {
	return withClassifier(func(p *ebpf.Program) error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: netns.Lo, Program: p, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		return l.Close()
	})
}
