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

// The commands of iproute2 are used, as a Go library for netlink would link vmtest
// dynamically, by its package net.

// inNetns runs commands, and then f if it is not nil, in a network namespace of their
// own, in which there is only lo.
func inNetns(f func() error, commands ...string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the namespace ends with the thread
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

// inNewNetns says whether commands succeed.
func inNewNetns(commands ...string) func() error {
	return func() error { return inNetns(nil, commands...) }
}

// classifier loads a program of tc.
func classifier() (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, License: "GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("load classifier: %w", err)
	}
	return p, nil
}

// clsBPF adds a program as a filter.
func clsBPF() error {
	p, err := classifier()
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Pin(probePin); err != nil {
		return fmt.Errorf("pin classifier: %w", err)
	}
	return errors.Join(
		inNetns(nil, "tc qdisc add dev lo ingress", "tc filter add dev lo ingress bpf direct-action object-pinned "+probePin),
		os.Remove(probePin),
	)
}

// tcx attaches a program to a device, without a qdisc.
func tcx() error {
	p, err := classifier()
	if err != nil {
		return err
	}
	defer p.Close()
	return inNetns(func() error {
		const lo = 1 // its index in every namespace
		l, err := link.AttachTCX(link.TCXOptions{Interface: lo, Program: p, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		return l.Close()
	})
}
