// Package probe has the commands for the bundled tracer, for the features of the kernel, and the demo.
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

// probeCommands returns the commands of this family. The demo runs the others by run.
func Commands(run func(ctx context.Context, stdout, stderr io.Writer, args []string) error) []*cobra.Command {
	return []*cobra.Command{newProbe(), newFeatures(), newDemo(run)}
}

func newProbe() *cobra.Command {
	tracer := command.Group("proctrace", "Trace fork, exec and exit of all processes",
		"  rbtool probe proctrace start", newProbeStart(), newProbeStop(), newProbeStatus(), newProbeReplace())
	tracer.AddCommand(newProbeRules()...)
	tracer.Long = `Trace every fork, exec and exit on this host into a ring buffer. The maps,
programs and links are pinned, so tracing goes on when the command has ended,
until it is stopped. Read the events with rbtool tail.

The records of a process lie in the ring in the order of its life. Ids are those
of the initial pid namespace.`
	return command.Group("probe", "Start and stop the bundled programs",
		"  rbtool probe proctrace start", tracer)
}

// pinDirFlag adds --pin-dir to cmd.
func pinDirFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("pin-dir", "", "where the tracer is pinned (default: rbtool/proctrace on the bpffs)")
}

// tracerDir returns the value of --pin-dir as an absolute path, or the default. It refuses a default
// that another user can change: a user who names no directory vouches for none.
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

// eventsPin is the ring of the tracer that is pinned in dir.
func eventsPin(dir string) string { return filepath.Join(dir, "events") }

func newProbeStart() *cobra.Command {
	ringBytes := command.Size(16 << 20)
	var opts proctrace.Options
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start tracing and leave it running",
		Long: `Start tracing and leave it running, until it is stopped.

With --overwrite the ring is a flight recorder: it always has the newest events, for
rbtool tail to read after something went wrong.

With --stacks, rbtool tail names the functions. It finds files by their build ids, and Go
programs by the mapping at the address, or by their path if the process has ended ("by its
path"). It does not read symbol tables of more than 2^19 symbols, 2^18 functions or 32 MiB
of names.`,
		Example: "  rbtool probe proctrace start\n  rbtool probe proctrace start --pin-dir /sys/fs/bpf/mine --size 4MiB",
		Args:    cobra.NoArgs,
	}
	dir := pinDirFlag(cmd)
	cmd.Flags().Var(&ringBytes, "size", "bytes of the ring: a power of two, at least a page")
	cmd.Flags().BoolVar(&opts.Overwrite, "overwrite", false, "when full, overwrite the oldest events (Linux 6.19)")
	cmd.Flags().BoolVar(&opts.Processes, "processes", false, "keep a table of the processes that live, in an arena (Linux 6.12)")
	cmd.Flags().BoolVar(&opts.Stacks, "stacks", false, "give exec and exit events the stacks of the task")
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
	// Before anything is traced, so that the usual mistakes cost nothing.
	events := eventsPin(dir)
	if err := pin.Check(events); errors.Is(err, fs.ErrExist) {
		return command.WithHint(fmt.Errorf("start proctrace: a tracer is pinned in %q already", dir),
			"end it with rbtool probe proctrace stop, or choose another --pin-dir")
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

// noTracer is the error of a command for a tracer that is not there.
func noTracer(verb, dir string) error {
	err := command.WithStatus(fmt.Errorf("%s proctrace: no tracer is pinned in %q", verb, dir), command.StatusNotFound)
	return command.WithHint(err, "rbtool probe proctrace start begins one; --pin-dir says where another is")
}

func newProbeStop() *cobra.Command {
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
			_ = os.Remove(filepath.Dir(dir)) // which start made, unless there is more in it
		}
		return nil
	}
	return cmd
}

func newProbeReplace() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replace",
		Short: "Put this rbtool's programs into a running tracer",
		Long: `Replace the programs that handle events in a tracer that an older rbtool may have
started, while it goes on: no event is lost. The ring, the counts and the rules stay.`,
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

func newProbeStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what was traced and what was lost",
		Long: `Show the counts of events: written into the ring, failed because it was full,
missed because the kernel did not run the program, ignored because of rules (rbtool
probe proctrace watch and ignore). Then what of the kernel the tracer uses: what a
kernel lacks is left out.`,
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
