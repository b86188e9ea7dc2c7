package bpffs

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/pin"
)

// arenaOptions are the flags of create arena.
type arenaOptions struct {
	pin                     string
	name                    string
	size                    command.Size
	base                    command.Address
	segvOnFault, noUserConv bool
	mode                    fileMode
}

func newCreateArena() *cobra.Command {
	opts := arenaOptions{mode: 0o600}
	cmd := &cobra.Command{
		Use:   "arena --pin PATH --size SIZE",
		Short: "Create an arena, memory that programs and processes share",
		Long: `Create an arena (BPF_MAP_TYPE_ARENA, Linux 6.9) and pin it. It lies at one
address in every process: --base, or a window of 4 GiB that nothing uses here and
no other arena has. Missing directories of PATH are made inside the bpffs; one that
another user can change is refused, see rbtool pin --help. When anything fails, nothing
is left behind.`,
		Example: `  rbtool create arena --pin /sys/fs/bpf/heap --size 4MiB
  rbtool create arena --pin /sys/fs/bpf/heap --size 4GiB --base 0x120000000000 -o json`,
		Args: cobra.NoArgs,
	}
	output := command.OutputFlag(cmd, "table", "json")
	f := cmd.Flags()
	f.StringVar(&opts.pin, "pin", "", "where to pin it, on a bpffs")
	f.Var(&opts.size, "size", "bytes that it can have: a multiple of the page size, at most 4GiB")
	f.StringVar(&opts.name, "name", "", "name, up to 15 of A-Z a-z 0-9 _ . (default: from PATH)")
	f.Var(&opts.base, "base", "its address (default: a free window)")
	f.BoolVar(&opts.segvOnFault, "segv-on-fault", false, "touching a page that no program allocated is a fault; without, it allocates the page")
	f.BoolVar(&opts.noUserConv, "no-user-conv", false, "programs store pointers without their upper half")
	f.Var(&opts.mode, "mode", "permissions of the pin, octal")
	_ = cmd.MarkFlagRequired("pin")
	_ = cmd.MarkFlagRequired("size")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkName("arena", opts.pin, cmd.Flags().Changed("name"), &opts.name); err != nil {
			return err
		}
		return createArena(cmd.OutOrStdout(), opts, output.Value == "json")
	}
	return cmd
}

func createArena(w io.Writer, o arenaOptions, asJSON bool) error {
	opts := arena.Options{
		Name: o.name, Size: uint64(o.size), Base: uint64(o.base),
		SegvOnFault: o.segvOnFault, NoUserConv: o.noUserConv,
	}
	if err := opts.Check(); err != nil {
		return command.Usagef("create arena: %w", err)
	}
	if err := pin.Check(o.pin); err != nil {
		return err
	}
	a, err := arena.Create(opts)
	if err != nil {
		return err
	}
	defer a.Close()
	return pinCreated(w, a.Map(), a.Size(), o.pin, o.mode, asJSON)
}
