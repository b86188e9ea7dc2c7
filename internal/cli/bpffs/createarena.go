package bpffs

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/pin"
)

// arenaOptions are the flags of create arena.
type arenaOptions struct {
	createOptions
	base                    command.Address
	segvOnFault, noUserConv bool
}

func newCreateArena() *cobra.Command {
	var opts arenaOptions
	cmd := &cobra.Command{
		Use:   "arena --pin PATH --size SIZE",
		Short: "Create an arena, memory that programs and processes share",
		Long: `Create an arena (BPF_MAP_TYPE_ARENA, Linux 6.9) and pin it. All
processes map it at the same address: --base, or a window of 4 GiB that neither this
process nor another arena uses. Missing directories of PATH are created inside the bpffs;
a directory that another user can change is refused, see rbtool pin --help. A failed
command leaves nothing behind.`,
		Example: `  rbtool create arena --pin /sys/fs/bpf/heap --size 4MiB
  rbtool create arena --pin /sys/fs/bpf/heap --size 4GiB --base 0x120000000000 -o json`,
		Args: cobra.NoArgs,
	}
	opts.flags(cmd, "reserve this many bytes: a multiple of the page size, at most 4GiB")
	f := cmd.Flags()
	f.Var(&opts.base, "base", "map the arena at this address (default: in a free window)")
	f.BoolVar(&opts.segvOnFault, "segv-on-fault", false, "send SIGSEGV for access to a page that no program allocated, instead of allocating it")
	f.BoolVar(&opts.noUserConv, "no-user-conv", false, "let programs store pointers without their upper half")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := opts.checkName(cmd); err != nil {
			return err
		}
		return opts.create(cmd.OutOrStdout())
	}
	return cmd
}

func (o *arenaOptions) create(w io.Writer) error {
	opts := arena.Options{
		Name: o.name, Size: uint64(o.size), Base: uint64(o.base),
		SegvOnFault: o.segvOnFault, NoUserConv: o.noUserConv,
	}
	if err := arenamem.Check(opts.Size, opts.Base); err != nil {
		return command.Usagef("create arena: %w", err)
	}
	if err := hintPath(pin.Check(o.pin), o.pin); err != nil {
		return err
	}
	a, err := arena.Create(opts)
	if err != nil {
		return err
	}
	defer a.Close()
	return o.pinNew(w, a.Map(), a.Size())
}
