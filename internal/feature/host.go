package feature

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/proc"
)

// Command is the argument with which the program that links this package has to
// call Unprivileged, with the arguments that follow it.
const Command = "probe-unprivileged"

// tracefs looks for the events, where tests do.
func tracefs() error {
	_, err := os.Stat("/sys/kernel/tracing/events")
	return err
}

// bpftool looks for the program, whose output tests compare with.
func bpftool() error {
	_, err := exec.LookPath("bpftool")
	return err
}

// cgroup2 says whether one is mounted.
func cgroup2() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return nil
		}
	}
	return errors.New("not mounted")
}

func initialPIDNamespace() error {
	initial, err := proc.InitialPIDNamespace()
	if err == nil && !initial {
		return errors.New("in another")
	}
	return err
}

const probePin = "/sys/fs/bpf/vmtest_probe"

// unprivilegedInfo asks, as nobody, for information on a map.
func unprivilegedInfo() error {
	return asNobody("info")
}

// unprivilegedGet opens, as nobody, a pinned map that everybody may open.
func unprivilegedGet() error {
	return asNobody("get")
}

func asNobody(what string) (err error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("create map: %w", err)
	}
	defer m.Close()
	if err := m.Pin(probePin); err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(probePin)) }()
	if err := os.Chmod(probePin, 0o666); err != nil {
		return err
	}
	fd, err := syscall.Dup(m.FD())
	if err != nil {
		return fmt.Errorf("duplicate descriptor: %w", err)
	}
	file := os.NewFile(uintptr(fd), "map")
	defer file.Close()
	cmd := exec.Command("/proc/self/exe", Command, what)
	cmd.ExtraFiles = []*os.File{file}
	const nobody = 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("as nobody: %s (%w)", bytes.TrimSpace(out), err)
	}
	return nil
}

// Unprivileged is the part of a probe that runs as nobody.
func Unprivileged(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: " + Command + " info|get")
	}
	switch args[0] {
	case "info":
		m, err := ebpf.NewMapFromFD(3)
		if err != nil {
			return err
		}
		return m.Close()
	case "get":
		m, err := ebpf.LoadPinnedMap(probePin, nil)
		if err != nil {
			return err
		}
		return m.Close()
	}
	return errors.New("no probe " + strconv.Quote(args[0]))
}
