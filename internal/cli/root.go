package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/internal/cli/arena"
	"github.com/rbtool/rbtool/internal/cli/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/cli/host"
	"github.com/rbtool/rbtool/internal/cli/probe"
	"github.com/rbtool/rbtool/internal/cli/ring"
)

// newRoot returns the command rbtool, which writes to stdout and stderr.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "rbtool",
		Short: "BPF maps whose memory a process can map: ring buffers, user ring buffers, arenas",
		Long: `rbtool creates, pins, lists and reads BPF ring buffers on this host.

MAP is a pin (/sys/fs/bpf/events), an id (id:12) or a name (name:events).

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not supported by the kernel or
not permitted, 4 not found, 5 would disturb another process, 130 interrupted, 131 quit
(SIGQUIT ends rbtool at once; with GOTRACEBACK=all it prints its goroutines).`,
		Example:       "  rbtool demo\n  rbtool ls",
		Version:       command.Version(), // makes cobra add the flag --version
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate(versionLine())
	root.InitDefaultVersionFlag()
	root.Flags().Lookup("version").Usage = "print the version"
	root.SetOut(stdout)
	root.SetErr(stderr)
	for _, family := range [][]*cobra.Command{
		bpffs.Commands(), host.Commands(), ring.Commands(), arena.Commands(), probe.Commands(runArgs), {newVersion()},
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
		if cmd.HasParent() {
			err = fmt.Errorf("%s: %w", strings.TrimPrefix(cmd.CommandPath(), root.Name()+" "), err)
		}
		return command.WithHint(command.WithStatus(err, command.StatusUsage), "%s --help", cmd.CommandPath())
	}
	return err
}

// noteStart makes cmd and all its subcommands set *started when they start.
func noteStart(cmd *cobra.Command, started *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := emptyFlag(cmd.Flags()); err != nil {
				return err
			}
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
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = fmt.Errorf("--%s is empty", f.Name)
		}
	})
	return err
}
