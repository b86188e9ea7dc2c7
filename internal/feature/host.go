package feature

import (
	"errors"
	"os"
	"os/exec"
	"strings"

	"github.com/rbtool/rbtool/internal/proc"
)

// tracefs checks that tracefs is mounted at the path where tests read it.
func tracefs() error {
	_, err := os.Stat("/sys/kernel/tracing/events")
	return err
}

// command returns a trial that looks for a program in PATH.
func command(name string) func() error {
	return func() error {
		_, err := exec.LookPath(name)
		return err
	}
}

// shells looks for the shells for which rbtool completes, and for the functions on which its completion in bash stands.
func shells() error {
	_, err := os.Stat("/usr/share/bash-completion/bash_completion")
	for _, name := range []string{"bash", "zsh", "fish"} {
		err = errors.Join(err, command(name)())
	}
	return err
}

// cgroup2 checks that a cgroup v2 hierarchy is mounted.
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
	return errors.New("cgroup v2 is not mounted")
}

func initialPIDNamespace() error {
	initial, err := proc.InitialPIDNamespace()
	if err == nil && !initial {
		return errors.New("this process is in another PID namespace")
	}
	return err
}
