package program

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/runner"
)

func newStop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop DIR",
		Short: "Stop what rbtool run --pin has left running",
		Long: `Detach the programs that rbtool run --pin DIR has left running, and remove their links, programs and
maps. A directory with anything else in it is refused.`,
		Example: "  rbtool stop /sys/fs/bpf/prog",
		Args:    command.NonEmpty(cobra.ExactArgs(1)),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		err := runner.Stop(filepath.Clean(args[0]))
		if errors.Is(err, runner.ErrNotOurs) {
			return command.WithHint(err, "rbtool unpin removes single pins, and rbtool probe proctrace stop the bundled tracer")
		}
		return err
	}
	return cmd
}
