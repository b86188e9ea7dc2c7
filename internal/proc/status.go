package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// OwnPID returns the pid that the process whose directory is dir has in its own pid namespace:
// the last number of NSpid in its status file (fs/proc/array.c, task_state).
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

// parseOwnPID parses a status file. Without CONFIG_PID_NS it has no NSpid, and Pid is the
// only number. Name comes first; a line break in it is shown as \n.
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
