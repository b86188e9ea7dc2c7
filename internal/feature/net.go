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

// inNetns runs commands, then f if it is not nil, in a new network namespace, which has only
// lo. The commands are those of iproute2: a netlink library uses package net, which would
// link vmtest dynamically.
func inNetns(f func() error, commands ...string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the namespace ends with the thread
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

// inNewNetns runs commands in a new network namespace.
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

// clsBPF adds a program as a tc filter.
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
