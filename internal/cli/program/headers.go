package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/bpf/headers"
	"github.com/rbtool/rbtool/internal/cli/command"
)

func newHeaders() *cobra.Command {
	overwrite := false
	cmd := &cobra.Command{
		Use:   "headers DIR",
		Short: "Write the C headers for programs of your own, and print the flags for clang",
		Long: `Write the C headers of rbtool into a directory, which is made if it does not exist, and print the
flags with which clang finds them, as pkg-config --cflags does. The headers declare arenas and the
structures in them, user ring buffers and the bundled programs' records. They include
bpf/bpf_helpers.h of libbpf (package libbpf-dev).`,
		Example: `  rbtool headers include
  clang $(rbtool headers include) -c prog.bpf.c -o prog.bpf.o; rbtool run prog.bpf.o`,
		Args: command.NonEmpty(cobra.ExactArgs(1)),
	}
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace headers that differ")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return writeHeaders(cmd.OutOrStdout(), args[0], overwrite)
	}
	return cmd
}

// cflags are the flags of the bundled programs. -mcpu=v3 is what all kernels that rbtool supports run.
const cflags = "-target bpf -mcpu=v3 -g -O2"

// writeHeaders writes the headers below dir.
func writeHeaders(w io.Writer, dir string, overwrite bool) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return fmt.Errorf("write headers: %w", err)
	}
	entries, err := headers.Files.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := headers.Files.ReadFile(e.Name())
		if err == nil {
			err = writeHeader(filepath.Join(abs, e.Name()), text, overwrite)
		}
		if err != nil {
			return fmt.Errorf("write headers: %w", err)
		}
	}
	_, err = fmt.Fprintf(w, "%s -I%s\n", cflags, quoteShell(abs))
	return err
}

// writeHeader writes a file. It leaves one alone that has another text.
func writeHeader(path string, text []byte, overwrite bool) error {
	old, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(old, text):
		return nil
	case err == nil && !overwrite:
		return command.WithHint(fmt.Errorf("%s: %w with another text", path, fs.ErrExist), "--overwrite replaces it")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// quoteShell escapes what a shell would split, as pkg-config does.
func quoteShell(path string) string {
	return strings.NewReplacer(" ", `\ `, "\t", "\\\t", "'", `\'`, `"`, `\"`, "$", `\$`, `\`, `\\`).Replace(path)
}
