package command

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

// Group returns a command that only has subcommands.
func Group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example}
	NeedSubcommand(cmd)
	cmd.AddCommand(subs...)
	return cmd
}

// NeedSubcommand makes cmd fail if it is called without a subcommand or with an unknown one.
func NeedSubcommand(cmd *cobra.Command) {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return UnknownCommand(cmd, args[0])
		}
		return errors.New("a subcommand is missing")
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // without it cobra ignores Args
}

// UnknownCommand returns the error for a name that is not a subcommand of parent.
func UnknownCommand(parent *cobra.Command, name string) error {
	return fmt.Errorf("unknown command %q for %q", name, parent.CommandPath())
}

// NonEmpty returns an argument check that calls check, and refuses empty arguments.
func NonEmpty(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return errors.New("an argument is empty")
		}
		return check(cmd, args)
	}
}
