package runner

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Figures are what the kernel has counted of a program.
type Figures struct {
	Program string
	Section string
	Runs    uint64
	Time    time.Duration // of all runs
	Missed  uint64        // runs that the kernel skipped because the program was running on that CPU (recursion misses)
}

// CountRuns makes the kernel count the runs and the run time of all programs of the host, until the result is closed. It
// costs each run some nanoseconds.
func CountRuns() (io.Closer, error) {
	c, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, fmt.Errorf("count runs of programs: %w", err)
	}
	return c, nil
}

// Figures returns what the kernel has counted of each program. Any goroutine may call it until Close.
func (o *Object) Figures() (all []Figures, err error) {
	for _, p := range o.programs {
		s, statsErr := p.Stats()
		if statsErr != nil {
			err = errors.Join(err, fmt.Errorf("read statistics of program %s: %w", p.Name, statsErr))
			continue
		}
		all = append(all, Figures{Program: p.Name, Section: p.Section(), Runs: s.RunCount, Time: s.Runtime, Missed: s.RecursionMisses})
	}
	return all, err
}
