package ring

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// completeOwners adds the completion of --pid and --comm: of processes that have rings.
func completeOwners(cmd *cobra.Command) {
	for flag, text := range map[string]func(u inspect.User, ring string) string{
		"pid":  func(u inspect.User, ring string) string { return fmt.Sprintf("%d\t%s, %s", u.PID, u.Comm, ring) },
		"comm": func(u inspect.User, ring string) string { return fmt.Sprintf("%s\t%s", u.Comm, ring) },
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return owners(typed, text), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// owners returns the texts that begin with what is typed, each value once. Before the tab it is the value, after it a
// description.
func owners(typed string, text func(u inspect.User, ring string) string) (found []string) {
	all, err := inspect.All(inspect.Options{SkipPrograms: true, SkipPins: true})
	if err != nil {
		return nil
	}
	var values []string
	for _, m := range all.Maps {
		if m.Type != ebpf.RingBuf && m.Type != ebpf.UserRingbuf {
			continue
		}
		for _, u := range m.Users {
			line := text(u, m.Name)
			value, _, _ := strings.Cut(line, "\t")
			if u.Self || !command.Harmless(value) || !strings.HasPrefix(value, typed) || slices.Contains(values, value) {
				continue
			}
			values, found = append(values, value), append(found, line)
		}
	}
	return found
}
