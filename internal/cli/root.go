package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/internal/cli/arena"
	"github.com/rbtool/rbtool/internal/cli/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/cli/host"
	"github.com/rbtool/rbtool/internal/cli/probe"
	"github.com/rbtool/rbtool/internal/cli/program"
	"github.com/rbtool/rbtool/internal/cli/ring"
	"github.com/rbtool/rbtool/internal/cli/types"
)

// newRoot returns the command rbtool, which writes to stdout and stderr.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "rbtool",
		Short: "BPF maps whose memory a process can map: ring buffers, user ring buffers, arenas",
		Long: `rbtool creates, pins, lists and reads BPF ring buffers on this host.

MAP is a pin (/sys/fs/bpf/events, or app/events below the bpffs), an id (12) or a name (events).
A word is a path if a map is pinned there, else an id if it is a number, else a name; id:12 and
name:events are never paths. Sizes are 65536, 64K or 64KiB, durations 250ms, 10s or 10.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not supported by the kernel or
not permitted, 4 not found, 5 would disturb another process, 130 interrupted, 131 quit
(SIGQUIT ends rbtool at once; with GOTRACEBACK=all it prints its goroutines).`,
		Example:       "  rbtool demo\n  rbtool ls\n  rbtool tail events",
		Version:       command.Version(), // makes cobra add the flag --version
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return command.UnknownCommand(root, args[0])
		}
		return nil
	}
	root.SetVersionTemplate(versionLine())
	root.InitDefaultVersionFlag()
	root.Flags().Lookup("version").Usage = "print the version"
	root.SetOut(stdout)
	root.SetErr(stderr)
	for _, family := range [][]*cobra.Command{
		bpffs.Commands(), host.Commands(), ring.Commands(), program.Commands(func() program.Tail { return ring.NewTail() }), types.Commands(), arena.Commands(), probe.Commands(runArgs), {newVersion(), newMan()},
	} {
		root.AddCommand(family...)
	}
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		command.NeedSubcommand(completion)
	}
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = needCommand
	}
	addOtherNames(root)
	return root
}

// needCommand returns an error if help is asked for an unknown command.
func needCommand(help *cobra.Command, args []string) error {
	about, rest, err := help.Root().Find(args)
	if err == nil && len(rest) > 0 {
		err = command.UnknownCommand(about, rest[0])
	}
	return err
}

// execute runs root with args. It turns an error that occurs before a command starts into a usage error.
func execute(ctx context.Context, root *cobra.Command, args []string) error {
	started := false
	noteStart(root, &started)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !started {
		return explainUsage(root, cmd, args, err)
	}
	if command.StatusOf(err) == command.StatusUsage && !command.HasHint(err) {
		return command.WithHint(err, "%s --help", cmd.CommandPath())
	}
	return err
}

// noteStart makes cmd and all its subcommands set *started when they start, count their arguments and
// complete the words of flags.
func noteStart(cmd *cobra.Command, started *bool) {
	countArgs(cmd)
	command.CompleteChoices(cmd)
	completeMaps(cmd)
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteStart(sub, started)
	}
}

// emptyFlag returns an error if the value of a flag is empty: in a script this comes from a variable
// that was never set.
func emptyFlag(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		empty := isList && !slices.ContainsFunc(list.GetSlice(), func(s string) bool { return s != "" })
		if empty || f.Value.Type() == "string" && f.Value.String() == "" {
			err = fmt.Errorf("--%s is empty", f.Name)
		}
	})
	return err
}
