// Package probe provides the commands for the bundled tracer (probe proctrace), the command that shows
// the kernel's features (features), and the demo.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/pin"
)

// Commands returns the commands of this package. The demo calls run with the arguments of any rbtool
// command.
func Commands(run func(ctx context.Context, stdout, stderr io.Writer, args []string) error) []*cobra.Command {
	return []*cobra.Command{newProbe(), newFeatures(), newDemo(run)}
}

func newProbe() *cobra.Command {
	tracer := command.Group("proctrace", "Trace fork, exec and exit of all processes",
		"  rbtool probe proctrace start", newStart(), newStop(), newStatus(), newReplace())
	tracer.AddCommand(newRules()...)
	tracer.Long = `Trace every fork, exec and exit on this host into a ring buffer. The maps, programs and
links are pinned, so tracing continues after the command has ended, until rbtool probe
proctrace stop. Read the events with rbtool tail.

The events of a process are in the ring in the order in which they happened. Process ids
are those of the initial pid namespace.`
	return command.Group("probe", "Start and stop the bundled programs",
		"  rbtool probe proctrace start", tracer)
}

// pinDirFlag adds --pin-dir to a command for a running tracer.
func pinDirFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("pin-dir", "", "use the tracer pinned in this directory (default: rbtool/proctrace on the bpffs)")
}

// tracerDir returns the absolute path of --pin-dir, or the default directory without the flag. It
// refuses the default directory if another user can change it.
func tracerDir(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	root, err := bpffs.Default()
	if err != nil {
		return "", fmt.Errorf("probe proctrace: %w", err)
	}
	dir := filepath.Join(root, "rbtool", "proctrace")
	if err := bpffs.CheckSafe(dir); err != nil {
		return "", fmt.Errorf("probe proctrace: %w", err)
	}
	return dir, nil
}

// eventsPin is the path of the event ring of the tracer that is pinned in dir.
func eventsPin(dir string) string { return filepath.Join(dir, "events") }

func newStart() *cobra.Command {
	ringBytes := command.Size(16 << 20)
	var opts proctrace.Options
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start tracing and leave it running",
		Long: `Start tracing and leave it running until rbtool probe proctrace stop.

With --overwrite the ring is a flight recorder: it always holds the newest events, for
rbtool tail to read after something went wrong.

With --stacks, rbtool tail shows the functions of each stack. It finds executables by build
id, and Go programs by the mapping at the address, or by path if the process has ended (then
it says "by its path"). It reads at most 2^19 symbols, 2^18 functions and 32 MiB of names of
a symbol table.`,
		Example: "  rbtool probe proctrace start\n  rbtool probe proctrace start --pin-dir /sys/fs/bpf/mine --size 4MiB",
		Args:    cobra.NoArgs,
	}
	dir := cmd.Flags().String("pin-dir", "", "pin the tracer in this directory (default: rbtool/proctrace on the bpffs)")
	cmd.Flags().Var(&ringBytes, "size", "make the ring this large: a power of two, at least a page")
	cmd.Flags().BoolVar(&opts.Overwrite, "overwrite", false, "overwrite the oldest events when the ring is full (Linux 6.19)")
	cmd.Flags().BoolVar(&opts.Processes, "processes", false, "keep a table of live processes in an arena (Linux 6.12)")
	cmd.Flags().BoolVar(&opts.Stacks, "stacks", false, "add the stacks of the task to exec and exit events")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := command.CheckRing(uint64(ringBytes), uint64(os.Getpagesize())); err != nil {
			return command.Usagef("probe proctrace start: --size %w", err)
		}
		dir, err := tracerDir(*dir)
		if err != nil {
			return err
		}
		opts.RingBytes = uint32(ringBytes)
		return startTracer(cmd.OutOrStdout(), dir, opts)
	}
	return cmd
}

func startTracer(w io.Writer, dir string, opts proctrace.Options) (err error) {
	// Check the pin before loading anything: the most frequent error is that a tracer is already
	// running.
	events := eventsPin(dir)
	if err := pin.Check(events); errors.Is(err, fs.ErrExist) {
		return command.WithHint(fmt.Errorf("start proctrace: a tracer is already pinned in %q", dir),
			"stop it with rbtool probe proctrace stop, or choose another --pin-dir")
	} else if err != nil {
		return fmt.Errorf("start proctrace: %w", err)
	}
	dirs := bpffs.MissingParents(events)
	t, err := proctrace.Load(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.Attach(); err != nil {
		return err
	}
	if err := t.Pin(dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "tracing into %s\n", events)
	if command.Spoiled(err) {
		err = errors.Join(fmt.Errorf("write output: %w", err), t.Close(), proctrace.Remove(dir))
		command.RemoveDirs(dirs)
	}
	return err
}

// noTracer returns the error of a command that finds no tracer in dir.
func noTracer(verb, dir string) error {
	err := command.WithStatus(fmt.Errorf("%s proctrace: no tracer is pinned in %q", verb, dir), command.StatusNotFound)
	return command.WithHint(err, "start one with rbtool probe proctrace start, or name its directory with --pin-dir")
}

func newStop() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "stop",
		Short:   "Stop tracing and remove the pins",
		Example: "  rbtool probe proctrace stop",
		Args:    cobra.NoArgs,
	}
	dir := pinDirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := tracerDir(*dir)
		if err != nil {
			return err
		}
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return noTracer("stop", dir)
		} else if err != nil {
			return fmt.Errorf("stop proctrace: %w", err)
		}
		if err := proctrace.Remove(dir); err != nil {
			return err
		}
		if !cmd.Flags().Changed("pin-dir") {
			_ = os.Remove(filepath.Dir(dir)) // start may have made this directory; Remove keeps it if it is not empty
		}
		return nil
	}
	return cmd
}

func newReplace() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replace",
		Short: "Replace the programs of a running tracer by those of this rbtool",
		Long: `Replace the programs of a running tracer, which an older rbtool may have started, by
those of this rbtool. No event is lost. The ring, the counts and the rules stay.`,
		Example: "  rbtool probe proctrace replace",
		Args:    cobra.NoArgs,
	}
	dir := pinDirFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		dir, err := tracerDir(*dir)
		if err != nil {
			return err
		}
		t, err := proctrace.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return noTracer("replace", dir)
		}
		if err != nil {
			return err
		}
		return errors.Join(t.Replace(), t.Close())
	}
	return cmd
}

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how many events were traced and lost",
		Long: `Show the counts of events: written into the ring, failed because the ring was full,
missed because the kernel did not run the program, and ignored by a rule (rbtool probe
proctrace watch and ignore). Then show which features of the kernel the tracer uses, and
what is lost without them.`,
		Example: "  rbtool probe proctrace status -o json",
		Args:    cobra.NoArgs,
	}
	dir := pinDirFlag(cmd)
	output := command.OutputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := tracerDir(*dir)
		if err != nil {
			return err
		}
		return tracerStatus(cmd.OutOrStdout(), cmd.ErrOrStderr(), dir, output.Value == "json")
	}
	return cmd
}
