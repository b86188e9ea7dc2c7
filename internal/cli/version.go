package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
)

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the commit it was built from and the kernel",
		Example: "  rbtool version\n  rbtool version -o json",
		Args:    cobra.NoArgs,
	}
	output := command.OutputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if output.Value != "text" {
			return command.PrintDocument(cmd.OutOrStdout(), output.Value, build{
				command.Version(), command.Commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, kernel(),
			})
		}
		_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine())
		return err
	}
	return cmd
}

// build is the JSON output of version. Scripts rely on its member names.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Kernel   string `json:"kernel,omitempty"`
}

// kernel returns the release of the running kernel, or "".
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// versionLine is the output of rbtool version and of --version: what a report of a bug needs.
func versionLine() string {
	line := "rbtool " + command.Version()
	if commit := command.Commit(); commit != "" {
		line += " commit " + commit[:min(12, len(commit))]
	}
	line += fmt.Sprintf(" %s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if release := kernel(); release != "" {
		line += " kernel " + release
	}
	return line + "\n"
}
