package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/near"
)

// explainUsage explains the error of a command line with which no command started: it names what is near, and hints at
// what to type. cmd is the command in which the error occurred, args are the arguments of root.
func explainUsage(root, cmd *cobra.Command, args []string, err error) error {
	missing, isFlag := errors.AsType[*pflag.NotExistError](err)
	if name, ok := unknownCommand(root, args); ok {
		err = command.UnknownCommand(cmd, name)
	} else if isFlag {
		err = unknownFlag(cmd, missing)
	} else if flags := missingFlags(cmd); strings.HasPrefix(err.Error(), "required flag") && len(flags) > 0 {
		err = command.WithHint(fmt.Errorf("%s missing", isAre(flags)), "%s", example(cmd))
	} else if names, ok := oneRequired(err); ok {
		err = command.WithHint(fmt.Errorf("%s is missing", names), "%s", example(cmd))
	} else if number, ok := errors.AsType[*strconv.NumError](err); ok { // of a flag of pflag
		err = errors.New(strings.Replace(err.Error(), number.Error(), "not a number of this kind", 1))
	}
	if cmd.HasParent() {
		err = fmt.Errorf("%s: %w", strings.TrimPrefix(cmd.CommandPath(), root.Name()+" "), err)
	}
	err = command.WithStatus(err, command.StatusUsage)
	if command.HasHint(err) {
		return err
	}
	return command.WithHint(err, "%s --help", cmd.CommandPath())
}

// unknownCommand returns the argument at which a subcommand should be, if it is none. Cobra parses flags before it notices
// that.
func unknownCommand(root *cobra.Command, args []string) (name string, ok bool) {
	cmd, rest, err := root.Find(args)
	if err != nil || !isGroup(cmd) || len(rest) == 0 || strings.HasPrefix(rest[0], "-") {
		return "", false
	}
	return rest[0], true
}

// isGroup reports whether cmd has subcommands and takes no arguments of its own.
func isGroup(cmd *cobra.Command) bool {
	_, most := arguments(cmd.Use)
	return cmd.HasSubCommands() && most == 0
}

// missingFlags returns the required flags that are not given.
func missingFlags(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[cobra.BashCompOneRequiredFlag] != nil && !f.Changed {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// oneRequired returns the names of flags one of which is required, if that is what cobra's error says.
func oneRequired(err error) (names string, ok bool) {
	list, ok := strings.CutPrefix(err.Error(), "at least one of the flags in the group [")
	list, _, _ = strings.Cut(list, "]")
	return "--" + strings.Join(strings.Fields(list), " or --"), ok
}

// isAre returns "--a is" or "--a and --b are".
func isAre(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, " and ") + " are"
}

// unknownFlag returns the error for a flag that cmd does not have.
func unknownFlag(cmd *cobra.Command, missing *pflag.NotExistError) error {
	name := missing.GetSpecifiedName()
	if same, ok := expected[name]; ok && cmd.Flags().Lookup(strings.TrimLeft(same, "-")) != nil || shorthand(cmd, same) {
		return command.WithHint(missing, "%s does this here: %s --help", same, cmd.CommandPath())
	}
	if hint := insteadOf(cmd, name); hint != "" {
		return command.WithHint(missing, "%s", hint)
	}
	if missing.GetSpecifiedShortnames() != "" {
		return missing
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	if names := near.Names(name, known); len(names) > 0 {
		for i := range names {
			names[i] = "--" + names[i]
		}
		return fmt.Errorf("%w%s", missing, near.List(names))
	}
	if others := having(cmd.Root(), name); len(others) > 0 {
		return command.WithHint(missing, "%s --help; other commands have --%s: %s", cmd.CommandPath(), name, strings.Join(others, ", "))
	}
	return missing
}

// shorthand reports whether flag is "-x" for a flag that cmd has.
func shorthand(cmd *cobra.Command, flag string) bool {
	return len(flag) == 2 && cmd.Flags().ShorthandLookup(flag[1:]) != nil
}

// having returns the names of the commands below cmd that have a flag.
func having(cmd *cobra.Command, flag string) (names []string) {
	for _, sub := range cmd.Commands() {
		if f := sub.Flags().Lookup(flag); f != nil && !f.Hidden && !sub.Hidden {
			names = append(names, sub.CommandPath())
		}
		names = append(names, having(sub, flag)...)
	}
	return names
}

// countArgs makes cmd say which argument is missing or unexpected, by the names in cmd.Use: MAP, [FILE], TYPE...
func countArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil || isGroup(cmd) || cmd.Run != nil { // cobra's own commands have Run
		return
	}
	required, most := arguments(cmd.Use)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := emptyFlag(cmd.Flags()); err != nil {
			return err
		}
		err := check(cmd, args)
		_, named := errors.AsType[*command.MissingError](err)
		switch hint := prefixed(args); {
		case err == nil && hint != "" && len(required) > 0 && required[0] == "MAP" && most > len(args):
			return command.WithHint(fmt.Errorf("%q is no MAP here", args[bpftoolWord(args)]), "%s", hint)
		case err == nil:
			return nil
		case named:
		case len(args) < len(required):
			missing := required[len(args)]
			err = fmt.Errorf("%s is missing", missing)
			if missing == "MAP" {
				return command.WithHint(err, "rbtool ls lists the maps; %s", example(cmd))
			}
		case len(args) > most:
			err = fmt.Errorf("unexpected argument %q", args[most])
		default:
			return err
		}
		return command.WithHint(err, "%s", cmp.Or(prefixed(args), example(cmd)))
	}
}

// arguments returns the names of the required arguments in a usage line, and how many arguments there can be.
func arguments(use string) (required []string, most int) {
	words := strings.Fields(use)[1:]
	for i, word := range words {
		name := strings.Trim(word, "[].")
		switch {
		case strings.ToLower(name) == name || name != strings.ToUpper(name) || strings.HasPrefix(name, "-"):
			continue
		case i > 0 && strings.HasPrefix(strings.TrimLeft(words[i-1], "["), "-"):
			continue // the value of a flag
		}
		if most++; !strings.HasPrefix(word, "[") {
			required = append(required, name)
		}
		if strings.Contains(word, "...") {
			most = 1 << 16
		}
	}
	return required, most
}

// bpftoolWord returns the index of a word that bpftool has before maps, or -1. A map of this name is name:WORD.
func bpftoolWord(args []string) int {
	return slices.IndexFunc(args, func(a string) bool { return a == "id" || a == "name" || a == "pinned" })
}

// prefixed returns a hint for arguments as bpftool has them, "id 12", or "".
func prefixed(args []string) string {
	i := bpftoolWord(args)
	switch {
	case i < 0 || i+1 >= len(args):
		return ""
	case args[i] == "pinned":
		return "a pin needs no word before it: " + args[i+1]
	}
	return "write " + args[i] + ":" + args[i+1]
}

// example returns a hint with the first example of a command's help.
func example(cmd *cobra.Command) string {
	first, _, _ := strings.Cut(strings.TrimSpace(cmd.Example), "\n")
	if first == "" {
		return cmd.CommandPath() + " --help"
	}
	return "for example: " + first
}
