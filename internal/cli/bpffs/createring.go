package bpffs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/pin"
)

// ringOptions are the flags of create ringbuf and create user-ringbuf.
type ringOptions struct {
	createOptions
	typ       ebpf.MapType
	numaNode  int
	overwrite bool
}

func newCreateRing() *cobra.Command {
	opts := &ringOptions{typ: ebpf.RingBuf}
	cmd := opts.command(&cobra.Command{
		Use:   "ringbuf --pin PATH --size SIZE",
		Short: "Create a ring buffer, kernel to user",
		Long: `Create a ring buffer (BPF_MAP_TYPE_RINGBUF, Linux 5.8) and pin it. Missing
directories of PATH are created inside the bpffs; a directory that another user can
change is refused, see rbtool pin --help. A failed command leaves nothing behind.`,
		Example: `  rbtool create ringbuf --pin /sys/fs/bpf/events --size 1MiB
  rbtool create ringbuf --pin /sys/fs/bpf/app/log --size 65536 --mode 0640 -o json`,
	})
	cmd.Flags().BoolVar(&opts.overwrite, "overwrite", false, "overwrite the oldest records when full (Linux 6.19)")
	return cmd
}

func newCreateUserRing() *cobra.Command {
	opts := &ringOptions{typ: ebpf.UserRingbuf}
	return opts.command(&cobra.Command{
		Use:   "user-ringbuf --pin PATH --size SIZE",
		Short: "Create a user ring buffer, user to kernel",
		Long: `Create a user ring buffer (BPF_MAP_TYPE_USER_RINGBUF, Linux 6.1) and pin it.
Missing directories of PATH are created inside the bpffs; a directory that another user
can change is refused, see rbtool pin --help. A failed command leaves nothing behind.
Fill it with rbtool produce --user, empty it with rbtool drain.`,
		Example: `  rbtool create user-ringbuf --pin /sys/fs/bpf/commands --size 64KiB
  rbtool create user-ringbuf --pin /sys/fs/bpf/app/in --size 1MiB --mode 0660 -o json`,
	})
}

// command adds to cmd the flags and the run function that create ringbuf and create user-ringbuf have in
// common.
func (o *ringOptions) command(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	o.flags(cmd, "hold this many bytes: a power of two, at least a page")
	cmd.Flags().IntVar(&o.numaNode, "numa-node", -1, "allocate the memory on this NUMA node")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(cmd); err != nil {
			return err
		}
		return o.create(cmd.OutOrStdout())
	}
	return cmd
}

// check returns an error for flags that are wrong on any machine.
func (o *ringOptions) check(cmd *cobra.Command) error {
	if err := command.CheckRing(uint64(o.size), uint64(os.Getpagesize())); err != nil {
		return command.Usagef("create %s: --size %w", cmd.Name(), err)
	}
	if err := o.checkName(cmd); err != nil {
		return err
	}
	if cmd.Flags().Changed("numa-node") && o.numaNode < 0 {
		return command.Usagef("create %s: --numa-node %d: not a node", cmd.Name(), o.numaNode)
	}
	return nil
}

func (o *ringOptions) spec() *ebpf.MapSpec {
	spec := &ebpf.MapSpec{Name: o.name, Type: o.typ, MaxEntries: uint32(o.size)}
	if o.numaNode >= 0 {
		spec.Flags |= unix.BPF_F_NUMA_NODE
		spec.NumaNode = uint32(o.numaNode)
	}
	if o.overwrite {
		spec.Flags |= mapflag.RBOverwrite
	}
	return spec
}

func (o *ringOptions) create(w io.Writer) error {
	// Check the pin before creating the ring: a wrong path is the most frequent mistake.
	if err := hintPath(pin.Check(o.pin), o.pin); err != nil {
		return err
	}
	if node := fmt.Sprintf("/sys/devices/system/node/node%d", o.numaNode); o.numaNode >= 0 {
		if _, err := os.Stat(node); err != nil {
			return fmt.Errorf("create ring %q: --numa-node %d: no such node", o.name, o.numaNode)
		}
	}
	m, err := ebpf.NewMap(o.spec())
	if err != nil {
		return o.explain(err)
	}
	defer m.Close()
	return o.pinNew(w, m, uint64(m.MaxEntries()))
}

// explain returns err, from the kernel's refusal to create the ring, with the likely reason.
func (o *ringOptions) explain(err error) error {
	refused := errors.Is(err, unix.EPERM)
	// RLIMIT_MEMLOCK is the reason if it could not be lifted, and this process may create maps.
	memlock := refused && rlimit.RemoveMemlock() != nil && !(command.Lacks(unix.CAP_BPF) && command.Lacks(unix.CAP_SYS_ADMIN))
	switch {
	case memlock:
		err = fmt.Errorf("%w (its memory is more than RLIMIT_MEMLOCK allows)", unix.EPERM)
	case refused:
		err = fmt.Errorf("%w (needs CAP_BPF)", unix.EPERM)
	}
	err = fmt.Errorf("create ring %q: %w", o.name, err)
	switch {
	case memlock:
		return command.WithHint(err, "Linux before 5.11 accounts maps to RLIMIT_MEMLOCK: raise it (ulimit -l), or run rbtool with CAP_SYS_RESOURCE")
	case errors.Is(err, unix.EINVAL) && o.typ == ebpf.UserRingbuf && errors.Is(features.HaveMapType(o.typ), ebpf.ErrNotSupported):
		return command.WithStatus(fmt.Errorf("%w (this kernel has no user ring buffers: BPF_MAP_TYPE_USER_RINGBUF, Linux 6.1)", err), command.StatusUnable)
	case errors.Is(err, unix.EINVAL) && o.overwrite:
		return command.WithStatus(fmt.Errorf("%w (this kernel has no overwrite mode: BPF_F_RB_OVERWRITE, Linux 6.19)", err), command.StatusUnable)
	case errors.Is(err, unix.ENOMEM):
		return command.WithHint(err, "the ring takes %s of kernel memory, which is accounted to this cgroup", command.FormatSize(uint64(o.size)))
	}
	return err
}
