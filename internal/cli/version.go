package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  rbtool version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

// versionLine is the output of rbtool version and of --version.
func versionLine() string {
	return fmt.Sprintf("rbtool %s %s %s/%s\n", command.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
