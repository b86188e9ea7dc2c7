package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// OwnPID returns the pid of a process in its own pid namespace: the last number of NSpid in the
// process's status file (fs/proc/array.c, task_state). dir is the process's directory in /proc.
func OwnPID(dir string) (uint32, error) {
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return 0, ended(err)
	}
	pid, err := parseOwnPID(text)
	if err != nil {
		return 0, fmt.Errorf("parse %s/status: %w", dir, err)
	}
	return pid, nil
}

// parseOwnPID parses a status file. If the kernel lacks CONFIG_PID_NS, the file has no NSpid, and
// Pid is the number. A process cannot forge these lines: a line break in its name is shown as \n.
func parseOwnPID(text []byte) (uint32, error) {
	var numbers []byte
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			numbers = value
		}
		if value, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			numbers = value
		}
	}
	fields := bytes.Fields(numbers)
	if len(fields) == 0 {
		return 0, errors.New("no pid")
	}
	pid, err := strconv.ParseUint(string(fields[len(fields)-1]), 10, 32)
	return uint32(pid), err
}
