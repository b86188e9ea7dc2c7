// Package process finds live processes of the host from inside any pid namespace. It uses a
// BPF program, since the /proc of a pid namespace shows only the processes of that namespace.
//
// It needs Linux 5.10, kernel BTF, CAP_BPF and CAP_PERFMON. Any number of goroutines can call
// all functions at once. [Find] loads the program for each call.
package process

//go:generate go tool bpf2go -target bpfel -go-package process -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/headers" bpf process.bpf.c

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// ErrUnreadable reports that the layout of the kernel's pid table is not the expected one.
var ErrUnreadable = errors.New("unknown layout of the kernel's pid table")

// StartBits is the number of low bits of a start time that [Find] compares.
const StartBits = 18

// NamespaceOf returns the number, 1 to 1023, by which [Find] compares pid namespaces. inode is
// the namespace's inode number. Different namespaces can have the same number.
func NamespaceOf(inode uint32) uint32 { return inode%1023 + 1 }

// Flags in the result of the program find, see process.bpf.c.
const (
	found      = 1 << 31
	unreadable = 1 << 30
	end        = 1 << 29
)

// initial is INITIAL in process.bpf.c.
const initial = 1 << 31

// Wanted describes a process as it sees itself.
type Wanted struct {
	// PID is the pid in the process's own pid namespace. Initial means that this namespace
	// is the initial one.
	PID     uint32
	Initial bool
	// Namespace is the number that [NamespaceOf] returns for this namespace; 0 means any
	// namespace.
	Namespace uint32
	// Start is the low [StartBits] of the start time, field 22 of /proc/self/stat, or 1 if
	// these bits are 0. A Start of 0 means any start time.
	Start uint32
}

// Find returns the pid, in the initial pid namespace, of a live process other than the
// caller that matches w, or 0 if there is none. A process is live until its last thread begins
// to exit.
func Find(w Wanted) (pid uint32, err error) {
	pid, err = w.find()
	if err != nil {
		return 0, fmt.Errorf("find process %d: %w", w.PID, err)
	}
	return pid, nil
}

func (w Wanted) find() (uint32, error) {
	spec, err := loadBpf()
	if err != nil {
		return 0, err
	}
	var objs bpfPrograms
	if err := spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{Cache: kernelbtf.Cache()}); err != nil {
		return 0, err
	}
	defer objs.Close()
	from, stop, pid := uint32(1), uint32(1<<22), w.PID // PID_MAX_LIMIT (include/linux/threads.h)
	if w.Initial {
		from, stop, pid = w.PID, w.PID+1, w.PID|initial
	}
	// Each run of the program checks a bounded number of pids and returns the next pid to check.
	for from < stop {
		r, err := objs.Find.Run(&ebpf.RunOptions{Context: []uint64{uint64(from), uint64(pid), uint64(w.Namespace<<StartBits | w.Start)}})
		switch {
		case err != nil:
			return 0, err
		case r&unreadable != 0, r&(found|end) == 0 && r <= from:
			return 0, ErrUnreadable
		case r&end != 0:
			return 0, nil
		case r&found != 0:
			return r &^ found, nil
		}
		from = r
	}
	return 0, nil
}
