package feature

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/cilium/ebpf"
)

// Command is the first argument with which a trial executes the running program again, as another
// user. The main function of a program that tries [All] features must check for it, and pass the
// arguments after it to [Unprivileged].
const Command = "feature-unprivileged"

const trialPin = "/sys/fs/bpf/rbtool_feature"

// unprivilegedInfo tries whether the user nobody can read the info of a map.
func unprivilegedInfo() error {
	return asNobody("info")
}

// unprivilegedGet tries whether the user nobody can open a pinned map whose mode is 0666.
func unprivilegedGet() error {
	return asNobody("get")
}

func asNobody(what string) (err error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("create map: %w", err)
	}
	defer m.Close()
	if err := m.Pin(trialPin); err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(trialPin)) }()
	if err := os.Chmod(trialPin, 0o666); err != nil {
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

// Unprivileged does the part of a trial that runs as the user nobody.
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
		m, err := ebpf.LoadPinnedMap(trialPin, nil)
		if err != nil {
			return err
		}
		return m.Close()
	}
	return errors.New("unknown trial " + strconv.Quote(args[0]))
}
