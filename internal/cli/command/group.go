package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/near"
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
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		return fmt.Errorf("a subcommand is missing: one of %s", strings.Join(names, ", "))
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // without it cobra ignores Args
}

// UnknownCommand returns the error for a name that is not a subcommand of parent. It names subcommands that are near, or
// commands elsewhere.
func UnknownCommand(parent *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q for %q", name, parent.CommandPath())
	if hint := elsewhere[name]; hint != "" {
		return WithHint(err, "%s", hint)
	}
	names := nearCommands(parent, name)
	if len(names) == 0 {
		return WithHint(err, "%s --help lists the commands", parent.CommandPath())
	}
	return WithHint(err, "did you mean %s?", strings.Join(names, ", or "))
}

// elsewhere has hints for words that other tools do.
var elsewhere = map[string]string{
	"mount":  "mount -t bpf bpf /sys/fs/bpf mounts a bpffs",
	"load":   "bpftool prog loadall FILE DIR pinmaps DIR loads programs, whose rings rbtool tail reads",
	"attach": "bpftool prog loadall FILE DIR autoattach loads and attaches programs, whose rings rbtool tail reads",
	"cp":     "rbtool pin MAP PATH pins a map at another path, too",
	"mv":     "rbtool pin MAP PATH and then rbtool unpin OLD-PATH",
}

// nearCommands returns the commands that name may stand for: those that it means to people or that have it elsewhere,
// otherwise those below parent that have a similar name.
func nearCommands(parent *cobra.Command, name string) []string {
	name = strings.ToLower(name)
	same := func(cmd *cobra.Command) bool {
		return cmd.Name() == name || cmd.HasAlias(name) || slices.Contains(cmd.SuggestFor, name)
	}
	for _, group := range [][]*cobra.Command{parent.Commands(), below(parent.Root())} {
		var found []string
		for _, cmd := range group {
			if same(cmd) {
				found = append(found, cmd.CommandPath())
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	groups := [][]*cobra.Command{parent.Commands()}
	if !parent.HasParent() {
		groups = append(groups, below(parent))
	}
	for _, group := range groups {
		paths := map[string][]string{}
		var names, found []string
		for _, cmd := range group {
			names = append(names, cmd.Name())
			paths[cmd.Name()] = append(paths[cmd.Name()], cmd.CommandPath())
		}
		for _, n := range near.Names(name, names) {
			found = append(found, paths[n]...)
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// below returns the commands below cmd, at any depth.
func below(cmd *cobra.Command) (all []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			all = append(append(all, sub), below(sub)...)
		}
	}
	return all
}

// MissingError reports that an argument is missing.
type MissingError struct{ Name string }

func (e *MissingError) Error() string { return e.Name + " is missing" }

// NonEmpty returns an argument check that calls check, and refuses empty arguments.
func NonEmpty(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return errors.New("an argument is empty")
		}
		return check(cmd, args)
	}
}
