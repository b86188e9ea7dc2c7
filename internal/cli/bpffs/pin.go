package bpffs

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/pin"
)

func newPin() *cobra.Command {
	return &cobra.Command{
		Use:   "pin MAP PATH",
		Short: "Pin a map, so that it outlives its processes and can be opened by path",
		Long: `Pin MAP, of any type, to PATH on a bpffs. A map can have many pins. Missing
directories of PATH are created. An existing PATH is refused. So is a PATH below a directory
of the bpffs that another user can change: one that belongs neither to you nor to root, or
that is writable for others and not sticky.`,
		Example: "  rbtool pin id:12 /sys/fs/bpf/events\n  rbtool pin name:events /sys/fs/bpf/events",
		Args:    command.NonEmpty(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := inspect.Lookup(args[0])
			if err != nil {
				return err
			}
			defer m.Close()
			return pin.Map(m, args[1], pin.Options{})
		},
	}
}

func newUnpin() *cobra.Command {
	return &cobra.Command{
		Use:   "unpin PATH...",
		Short: "Remove pins",
		Long: `Remove pins. A map lives on while a process, a program or another pin holds it.
If one PATH cannot be removed, the others still are.`,
		Example: "  rbtool unpin /sys/fs/bpf/events",
		Args:    command.NonEmpty(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, path := range args {
				errs = append(errs, pin.Remove(path))
			}
			return errors.Join(errs...)
		},
	}
}
