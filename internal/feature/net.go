package feature

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// inNetns runs commands, then f if it is not nil, in a new network namespace, whose only device is
// lo. It runs programs of iproute2, since a netlink library would use package net, with which
// vmtest would be linked dynamically.
func inNetns(f func() error, commands ...string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // no UnlockOSThread: the namespace ends with the thread
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			for _, c := range commands {
				args := strings.Fields(c)
				if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
					return fmt.Errorf("%s: %w: %s", c, err, strings.Join(strings.Fields(string(out)), " "))
				}
			}
			if f == nil {
				return nil
			}
			return f()
		}()
	}()
	return <-done
}

// inNewNetns returns a trial that runs commands in a new network namespace.
func inNewNetns(commands ...string) func() error {
	return func() error { return inNetns(nil, commands...) }
}

// classifier loads an empty tc program.
func classifier() (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, License: "GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("load classifier: %w", err)
	}
	return p, nil
}

// clsBPF attaches a program as a tc filter (cls_bpf) with the command tc.
func clsBPF() error {
	p, err := classifier()
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Pin(trialPin); err != nil {
		return fmt.Errorf("pin classifier: %w", err)
	}
	return errors.Join(
		inNetns(nil, "tc qdisc add dev lo ingress", "tc filter add dev lo ingress bpf direct-action object-pinned "+trialPin),
		os.Remove(trialPin),
	)
}

// tcx attaches a program to the ingress of a device by tcx, which needs no qdisc.
func tcx() error {
	p, err := classifier()
	if err != nil {
		return err
	}
	defer p.Close()
	return inNetns(func() error {
		const lo = 1 // lo has interface index 1 in every namespace
		l, err := link.AttachTCX(link.TCXOptions{Interface: lo, Program: p, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		return l.Close()
	})
}
