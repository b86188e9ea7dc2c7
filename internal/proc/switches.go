package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// VoluntarySwitches returns how often each thread of the process with a [Dir] has given up its CPU to wait for
// something, by its id.
func VoluntarySwitches(dir string) (map[int]uint64, error) {
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return nil, ended(err)
	}
	switches := map[int]uint64{}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "task", task.Name(), "status"))
		if err != nil {
			continue // the thread has ended
		}
		n, err := parseVoluntarySwitches(text)
		if err != nil {
			return nil, fmt.Errorf("%s: thread %d: %w", dir, id, err)
		}
		switches[id] = n
	}
	return switches, nil
}

// parseVoluntarySwitches returns the number in the line "voluntary_ctxt_switches:" (fs/proc/array.c,
// task_context_switch_counts).
func parseVoluntarySwitches(status []byte) (uint64, error) {
	const name = "voluntary_ctxt_switches:"
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok {
			return strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, fmt.Errorf("no line %q", name)
}
