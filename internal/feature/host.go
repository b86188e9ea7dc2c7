package feature

import (
	"errors"
	"os"
	"os/exec"
	"strings"

	"github.com/rbtool/rbtool/internal/proc"
)

// tracefs looks for tracefs at the place where tests read it.
func tracefs() error {
	_, err := os.Stat("/sys/kernel/tracing/events")
	return err
}

// command returns a trial that looks for a program of the host.
func command(name string) func() error {
	return func() error {
		_, err := exec.LookPath(name)
		return err
	}
}

// cgroup2 looks for a mounted cgroup v2 hierarchy.
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
