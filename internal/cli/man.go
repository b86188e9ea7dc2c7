package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/internal/cli/command"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the man pages into a directory",
		Long:    "Write a man page for each command into the directory DIR. SOURCE_DATE_EPOCH dates them.",
		Example: "  rbtool man /tmp && man /tmp/rbtool-tail.1",
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			forMan(root)
			header := &doc.GenManHeader{Source: "rbtool " + command.Version(), Manual: "User Commands"}
			if err := writeMan(root, header, args[0]); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			return nil
		},
	}
}

// writeMan writes the pages of cmd and its subcommands into dir.
func writeMan(cmd *cobra.Command, header *doc.GenManHeader, dir string) error {
	var page bytes.Buffer
	of := *header // GenMan sets its title
	if err := doc.GenMan(cmd, &of, &page); err != nil {
		return err
	}
	// The generator shows that a flag is set without a value, which everyone knows.
	text := bytes.ReplaceAll(page.Bytes(), []byte(`\fP[=true]`), []byte(`\fP`))
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := writeMan(sub, header, dir); err != nil {
			return err
		}
	}
	return nil
}

// forMan changes the help of cmd and of its subcommands into what cobra's generator expects: Markdown,
// and flags whose default value stands for their argument. The commands cannot run afterwards.
func forMan(cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	cmd.Long = markdown(cmd.Long)
	cmd.Example = strings.ReplaceAll(cmd.Example, "\n  ", "\n")
	cmd.Example = strings.TrimPrefix(cmd.Example, "  ")
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		if !strings.Contains("[] 0s 0 false", f.DefValue) && f.DefValue != "" {
			usage += " (default " + f.DefValue + ")"
		}
		if f.NoOptDefVal != "" {
			name = f.NoOptDefVal
		}
		f.Value, f.DefValue, f.Usage = argument{f.Value}, name, escapeMarkdown(usage)
	})
	for _, sub := range cmd.Commands() {
		forMan(sub)
	}
}

// argument is the value of a flag whose argument the generator does not quote.
type argument struct{ pflag.Value }

func (argument) Type() string { return "" }

const fence = "```" // begins and ends a literal block

// markdown returns help text as Markdown: indented lines are literal, and no other character has a
// meaning.
func markdown(help string) string {
	lines := strings.Split(help, "\n")
	literal := false
	for i, line := range lines {
		before := literal
		if line != "" {
			literal = strings.HasPrefix(line, "  ")
		}
		if !literal {
			lines[i] = escapeMarkdown(line)
		} else {
			lines[i] = strings.TrimPrefix(line, "  ")
		}
		if literal != before {
			lines[i] = fence + "\n" + lines[i]
		}
	}
	if literal {
		lines = append(lines, fence)
	}
	return strings.Join(lines, "\n")
}

var markdownEscaper = strings.NewReplacer(
	`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "#", `\#`, "|", `\|`, "~", `\~`,
)

func escapeMarkdown(text string) string { return markdownEscaper.Replace(text) }
