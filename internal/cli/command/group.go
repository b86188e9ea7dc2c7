package command

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

// group is a command that only has subcommands.
func Group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example}
	NeedSubcommand(cmd)
	cmd.AddCommand(subs...)
	return cmd
}

// needSubcommand makes it an error to call cmd without a subcommand, or with one that
// it does not have.
func NeedSubcommand(cmd *cobra.Command) {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return UnknownCommand(cmd, args[0])
		}
		return errors.New("which one?")
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // makes cobra look at Args
}

func UnknownCommand(of *cobra.Command, name string) error {
	return fmt.Errorf("unknown command %q for %q", name, of.CommandPath())
}

// noneEmpty is check for a command whose arguments must not be empty either.
func NonEmpty(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return errors.New("an argument is empty")
		}
		return check(cmd, args)
	}
}
