// Package process tells whether a process of the host lives, from inside any pid
// namespace. It asks the kernel with BPF programs, since the /proc of a namespace
// shows only its own processes, under other pids.
//
// It needs kernel BTF, CAP_BPF and CAP_PERFMON; it works from Linux 5.10 on. All
// functions may be called by many goroutines at once. They load their program for
// each call.
package process

//go:generate go tool bpf2go -target bpfel -go-package process -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" bpf process.bpf.c

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// ErrUnreadable says that the kernel's pid table is not laid out as expected.
var ErrUnreadable = errors.New("unknown layout of the kernel's pid table")

// The result of the program look, see process.bpf.c.
const (
	found      = 1 << 31
	live       = 1 << 30
	unreadable = 1 << 29
	startMask  = 1<<22 - 1
)

// Process describes a process.
type Process struct {
	// Live: at least one thread has not begun to exit.
	Live bool
	// Start is the low 22 bits of the start time in clock ticks since boot, as in
	// field 22 of /proc/PID/stat outside of time namespaces.
	Start uint32
}

// Self returns the caller's pid in the initial pid namespace.
func Self() (uint32, error) {
	var objs struct {
		Own *ebpf.Program `ebpf:"own"`
	}
	if err := load(&objs); err != nil {
		return 0, fmt.Errorf("look for this process: %w", err)
	}
	defer objs.Own.Close()
	pid, err := objs.Own.Run(&ebpf.RunOptions{})
	if err != nil {
		return 0, fmt.Errorf("look for this process: %w", err)
	}
	return pid, nil
}

// Look returns the process that has pid in the initial pid namespace, nil if there is none.
func Look(pid uint32) (*Process, error) {
	var objs struct {
		Look *ebpf.Program `ebpf:"look"`
	}
	if err := load(&objs); err != nil {
		return nil, fmt.Errorf("look for process %d: %w", pid, err)
	}
	defer objs.Look.Close()
	r, err := objs.Look.Run(&ebpf.RunOptions{Context: []uint64{uint64(pid)}})
	if err == nil && r&unreadable != 0 {
		err = ErrUnreadable
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for process %d: %w", pid, err)
	case r&found == 0:
		return nil, nil
	}
	return &Process{Live: r&live != 0, Start: r & startMask}, nil
}

// load loads the programs that objs names.
func load(objs any) error {
	spec, err := loadBpf()
	if err != nil {
		return err
	}
	return spec.LoadAndAssign(objs, &ebpf.CollectionOptions{Cache: kernelbtf.Cache()})
}
