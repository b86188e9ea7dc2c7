package userprod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// act is what a process started by testenv.Start does. role is a word, followed by a number for
// some words.
func act(role string, m *ebpf.Map) error {
	word, number, _ := strings.Cut(role, " ")
	arg, _ := strconv.Atoi(number)
	var err error
	switch word {
	case "produce":
		p, err := New(m, Options{})
		if err != nil {
			return err
		}
		defer p.Close()
	case "close": // fails first if memory may not be overcommitted
		return closeTwice(m)
	case "exec":
		if _, err := New(m, Options{}); err != nil {
			return err
		}
		return testenv.Exec("produce", m)
	case "bare":
		return bare(m)
	case "die":
		err = dieAt(arg, m)
	case "work":
		err = work(uint32(arg), m)
	case "scribble":
		return scribble(m)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		return err
	}
	return testenv.Ready()
}

// bareVar is the environment variable with the path of an empty directory.
const bareVar = "RBTOOL_TEST_BARE"

// bare writes a sample in a process that may not open a file or load a program, and is killed if it
// tries.
func bare(m *ebpf.Map) error {
	dir := os.Getenv(bareVar)
	if err := testenv.Confine(); err != nil && !errors.Is(err, testenv.ErrNoSeccomp) {
		return err
	}
	const nobody = 65534
	if err := errors.Join(unix.Chroot(dir), unix.Chdir("/"), unix.Setgroups(nil), unix.Setgid(nobody), unix.Setuid(nobody)); err != nil {
		return err
	}
	p, err := New(m, Options{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return errors.Join(one(p, 0), p.Close())
}

// closeTwice closes a Producer when there is no memory for Close, prints that Close failed, waits
// for a line, and closes the Producer again.
func closeTwice(m *ebpf.Map) error {
	p, err := New(m, Options{})
	if err != nil {
		return err
	}
	s, err := p.TryReserve(8)
	if err != nil {
		return err
	}
	failed := testenv.WithoutFixedMemory(p.Close)
	if errors.Is(failed, testenv.ErrNoSeccomp) {
		return failed
	}
	if !errors.Is(failed, unix.ENOMEM) {
		return fmt.Errorf("Close without memory: %w", failed)
	}
	s.Bytes()[0] = 1 // the sample is still in the ring
	fmt.Println("failed")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	fmt.Println("closed")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// die kills this process.
func die() {
	unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}
