package bpffs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/pin"
)

func newCreate() *cobra.Command {
	return command.Group("create", "Create a map and pin it",
		"  rbtool create ringbuf --pin /sys/fs/bpf/events --size 1MiB",
		newCreateRing(), newCreateUserRing(), newCreateArena())
}

// ringOptions are the flags of create ringbuf and create user-ringbuf.
type ringOptions struct {
	typ       ebpf.MapType
	pin       string
	size      command.Size
	name      string
	numaNode  int
	overwrite bool
	mode      fileMode
}

func newCreateRing() *cobra.Command {
	opts := &ringOptions{typ: ebpf.RingBuf}
	cmd := opts.command(&cobra.Command{
		Use:   "ringbuf --pin PATH --size SIZE",
		Short: "Create a ring buffer, kernel to user",
		Long: `Create a ring buffer (BPF_MAP_TYPE_RINGBUF, Linux 5.8) and pin it. Missing
directories of PATH are made inside the bpffs; one that another user can change is
refused, see rbtool pin --help. When anything fails, nothing is left behind.`,
		Example: `  rbtool create ringbuf --pin /sys/fs/bpf/events --size 1MiB
  rbtool create ringbuf --pin /sys/fs/bpf/app/log --size 65536 --mode 0640 -o json`,
	})
	cmd.Flags().BoolVar(&opts.overwrite, "overwrite", false, "when full, overwrite the oldest records (Linux 6.19)")
	return cmd
}

func newCreateUserRing() *cobra.Command {
	opts := &ringOptions{typ: ebpf.UserRingbuf}
	return opts.command(&cobra.Command{
		Use:   "user-ringbuf --pin PATH --size SIZE",
		Short: "Create a user ring buffer, user to kernel",
		Long: `Create a user ring buffer (BPF_MAP_TYPE_USER_RINGBUF, Linux 6.1) and pin it.
Missing directories of PATH are made inside the bpffs; one that another user can
change is refused, see rbtool pin --help. When anything fails, nothing is left
behind. Fill it with rbtool produce --user, empty it with rbtool drain.`,
		Example: `  rbtool create user-ringbuf --pin /sys/fs/bpf/commands --size 64KiB
  rbtool create user-ringbuf --pin /sys/fs/bpf/app/in --size 1MiB --mode 0660 -o json`,
	})
}

// command adds the flags and the body that both commands share.
func (o *ringOptions) command(cmd *cobra.Command) *cobra.Command {
	o.mode = 0o600
	cmd.Args = cobra.NoArgs
	output := command.OutputFlag(cmd, "table", "json")
	f := cmd.Flags()
	f.StringVar(&o.pin, "pin", "", "where to pin it, on a bpffs")
	f.Var(&o.size, "size", "bytes of data it holds: a power of two, at least a page")
	f.StringVar(&o.name, "name", "", "name, up to 15 of A-Z a-z 0-9 _ . (default: from PATH)")
	f.IntVar(&o.numaNode, "numa-node", -1, "take the memory from this node")
	f.Var(&o.mode, "mode", "permissions of the pin, octal")
	_ = cmd.MarkFlagRequired("pin")
	_ = cmd.MarkFlagRequired("size")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(cmd.Name(), cmd.Flags().Changed("name"), cmd.Flags().Changed("numa-node")); err != nil {
			return err
		}
		return createRing(cmd.OutOrStdout(), *o, output.Value == "json")
	}
	return cmd
}

// fileMode is a flag for permission bits.
type fileMode fs.FileMode

func (m *fileMode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 || n == 0 {
		return errors.New("not permission bits in octal, such as 0640")
	}
	*m = fileMode(n)
	return nil
}

func (m *fileMode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }
func (m *fileMode) Type() string   { return "octal" }

// nameRunes is what bpf_obj_name_cpy (kernel/bpf/syscall.c) allows, of which
// BPF_OBJ_NAME_LEN leaves 15 bytes.
var (
	nameForm  = regexp.MustCompile(`^[A-Za-z0-9_.]{1,15}$`)
	notOfName = regexp.MustCompile(`[^A-Za-z0-9_.]`)
)

// check finds what is wrong whatever the machine's state, and sets the name
// when none was given.
func (o *ringOptions) check(kind string, named, onNode bool) error {
	if err := command.CheckRing(uint64(o.size), uint64(os.Getpagesize())); err != nil {
		return command.Usagef("create %s: --size %w", kind, err)
	}
	if err := checkName(kind, o.pin, named, &o.name); err != nil {
		return err
	}
	if onNode && o.numaNode < 0 {
		return command.Usagef("create %s: --numa-node %d: not a node", kind, o.numaNode)
	}
	return nil
}

// checkName checks a map's name, which comes from its pin when none was given.
func checkName(kind, pin string, named bool, name *string) error {
	if !named {
		*name = notOfName.ReplaceAllString(filepath.Base(pin), "_")
		*name = (*name)[:min(len(*name), 15)]
	}
	if !nameForm.MatchString(*name) {
		return command.Usagef("create %s: --name %q: a map's name is 1 to 15 of A-Z a-z 0-9 _ and .", kind, *name)
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
		spec.Flags |= ring.FlagOverwrite
	}
	return spec
}

func createRing(w io.Writer, o ringOptions, asJSON bool) error {
	// Before the map, so that the usual mistakes cost nothing.
	if err := pin.Check(o.pin); err != nil {
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
	return pinCreated(w, m, uint64(m.MaxEntries()), o.pin, o.mode, asJSON)
}

// pinCreated pins a new map and reports its size and the absolute path of its pin, or does neither.
func pinCreated(w io.Writer, m *ebpf.Map, bytes uint64, path string, mode fileMode, asJSON bool) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	dirs := bpffs.MissingParents(path)
	if err := pin.Map(m, path, pin.Options{Mode: fs.FileMode(mode)}); err != nil {
		return err
	}
	err = reportCreated(w, m, bytes, path, asJSON)
	if command.Spoiled(err) {
		err = errors.Join(err, pin.Remove(path))
		command.RemoveDirs(dirs)
	}
	return err
}

// explain says why the kernel refused a map that looked right.
func (o *ringOptions) explain(err error) error {
	refused := errors.Is(err, unix.EPERM)
	// run could not lift the limit, although the kernel has it and lets this process create maps.
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
		return command.WithHint(err, "Linux before 5.11 accounts maps to RLIMIT_MEMLOCK: raise it (ulimit -l), or add CAP_SYS_RESOURCE, with which rbtool lifts it")
	case errors.Is(err, unix.EINVAL) && o.typ == ebpf.UserRingbuf && errors.Is(features.HaveMapType(o.typ), ebpf.ErrNotSupported):
		return command.WithStatus(fmt.Errorf("%w (this kernel has no user ring buffers: BPF_MAP_TYPE_USER_RINGBUF, Linux 6.1)", err), command.StatusUnable)
	case errors.Is(err, unix.EINVAL) && o.overwrite:
		return command.WithStatus(fmt.Errorf("%w (this kernel has no overwrite mode: BPF_F_RB_OVERWRITE, Linux 6.19)", err), command.StatusUnable)
	case errors.Is(err, unix.ENOMEM):
		return command.WithHint(err, "the ring takes %s of kernel memory, which is accounted to this cgroup", command.FormatSize(uint64(o.size)))
	}
	return err
}

// created is what create prints as JSON.
type created struct {
	ID       ebpf.MapID `json:"id"`
	Name     string     `json:"name"`
	Type     string     `json:"type"`
	Bytes    uint64     `json:"bytes"`
	Pin      string     `json:"pin"`
	Flags    uint32     `json:"flags"`
	MapExtra uint64     `json:"map_extra"`
}

func reportCreated(w io.Writer, m *ebpf.Map, bytes uint64, path string, asJSON bool) error {
	info, err := m.Info()
	if err != nil {
		return fmt.Errorf("describe %q: %w", path, err)
	}
	id, _ := info.ID()
	extra, _ := info.MapExtra()
	c := created{
		ID: id, Name: info.Name, Type: maptype.Name(info.Type), Bytes: bytes,
		Pin: path, Flags: info.Flags, MapExtra: extra,
	}
	if asJSON {
		return command.PrintJSON(w, c)
	}
	return command.PrintTable(w, [][]string{
		strings.Fields("ID TYPE NAME SIZE PIN"),
		{fmt.Sprint(c.ID), c.Type, c.Name, command.FormatSize(c.Bytes), c.Pin},
	})
}
