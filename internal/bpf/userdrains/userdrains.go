// Package userdrains counts the results of bpf_user_ringbuf_drain (kernel/bpf/ringbuf.c), which takes
// samples out of a user ring and may fail: for every user ring of the host, whatever program calls it.
//
// A program at the return of that function counts them. It attaches where the kernel traces
// kernel/bpf/ringbuf.c, from Linux 6.1 to 6.12: later kernels are built without. It needs kernel BTF,
// CAP_BPF and CAP_PERFMON.
//
//	c, err := userdrains.New()
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	...
//	counts, err := c.Read()
//
// Any number of goroutines may call the methods of a Counter at once.
package userdrains

//go:generate go tool bpf2go -target bpfel -go-package userdrains -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type drains bpf userdrains.bpf.c

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// other is OTHER in userdrains.bpf.c.
const other = 0

// Drains are the calls of bpf_user_ringbuf_drain for one user ring.
type Drains struct {
	Map     ebpf.MapID // 0 for the calls for all rings beyond the first 4095
	Calls   uint64
	Samples uint64 // drained by the calls that succeeded
	Busy    uint64 // calls that failed with -EBUSY: another drain was going on
	Invalid uint64 // with -EINVAL: producer_pos is not a multiple of 8, or a sample reaches beyond it
	TooBig  uint64 // with -E2BIG: a sample is larger than the ring or than 16 MiB - 1
	Failed  uint64 // with another error
}

// Failures returns the number of calls that failed.
func (d *Drains) Failures() uint64 { return d.Busy + d.Invalid + d.TooBig + d.Failed }

// Counter holds the attached program and its counts.
type Counter struct {
	objs bpfObjects
	link link.Link
}

// New attaches the program: it counts from then on. The caller must close the Counter. The error
// matches [ebpf.ErrNotSupported] if the kernel lacks user rings or does not trace the function, and
// EPERM if a privilege is missing.
func New() (*Counter, error) {
	c := &Counter{}
	if err := c.attach(); err != nil {
		return nil, fmt.Errorf("count results of bpf_user_ringbuf_drain: %w", errors.Join(err, c.objs.Close()))
	}
	return c, nil
}

func (c *Counter) attach() error {
	spec, err := loadBpf()
	if err != nil {
		return err
	}
	if err := spec.LoadAndAssign(&c.objs, &ebpf.CollectionOptions{Cache: kernelbtf.Cache()}); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("load a program at its return: %w", unix.EPERM) // cilium/ebpf guesses at RLIMIT_MEMLOCK
		}
		return notTraced(err)
	}
	if err := c.objs.Rings.Put(uint32(other), make([]bpfDrains, ebpf.MustPossibleCPU())); err != nil {
		return err
	}
	c.link, err = link.AttachTracing(link.TracingOptions{Program: c.objs.Drained})
	return notTraced(err)
}

// notTraced makes the errors of a kernel whose function cannot be traced match [ebpf.ErrNotSupported].
func notTraced(err error) error {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOENT, unix.ESRCH, unix.EBUSY} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: it cannot be traced: %w", ebpf.ErrNotSupported, err)
		}
	}
	return err
}

// Close detaches the program. It is idempotent.
func (c *Counter) Close() error { return errors.Join(c.link.Close(), c.objs.Close()) }

// Read returns the counts of each user ring that a program has drained, or tried to drain, since New,
// by ascending id. The counts of a ring that is gone remain.
func (c *Counter) Read() (rings []Drains, err error) {
	var id uint32
	var perCPU []bpfDrains
	it := c.objs.Rings.Iterate()
	for it.Next(&id, &perCPU) {
		d := Drains{Map: ebpf.MapID(id)}
		for _, n := range perCPU {
			d.Calls += n.Calls
			d.Samples += n.Samples
			d.Busy += n.Busy
			d.Invalid += n.Invalid
			d.TooBig += n.TooBig
			d.Failed += n.Failed
		}
		if d.Calls > 0 {
			rings = append(rings, d)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read drains of user rings: %w", err)
	}
	slices.SortFunc(rings, func(a, b Drains) int { return cmp.Compare(a.Map, b.Map) })
	return rings, nil
}
