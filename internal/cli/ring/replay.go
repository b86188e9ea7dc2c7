package ring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	to     userRing // "-" is the standard output
	speed  *command.Choice
	output *command.Choice
	filter string
}

func newReplay() *cobra.Command {
	opts := replayOptions{speed: &command.Choice{Value: "max", Among: []string{"max", "1x"}}}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Print the records of a capture, or write them into a user ring buffer",
		Long: `Print the records of a file that rbtool record wrote, as tail prints the records of a ring,
decoded by the types in the file. With --to MAP they become samples of a user ring buffer, as
rbtool produce writes them, waiting while the ring is full; rbtool produce --help explains --recover,
--steal and --ignore-unseen. With --to - they go to the standard output undecoded, each
preceded by its length as 4 bytes little-endian, as tail -o raw writes them and rbtool produce
--format lp32 reads them.

With --speed 1x records keep the intervals at which they were recorded. An unfinished capture is
read up to its last whole record, and a note says so. FILE - is the standard input.`,
		Example: `  rbtool replay events.pcapng -o json
  rbtool replay events.pcapng --to /sys/fs/bpf/commands --speed 1x
  rbtool replay events.pcapng --filter 'pid == 1' --to - > records.lp32`,
		Args: command.NonEmpty(cobra.ExactArgs(1)),
	}
	opts.output = command.OutputFlag(cmd, stream.FormatNames()...)
	f := cmd.Flags()
	f.StringVar(&opts.to.user, "to", "", "write the records, undecoded, to the user ring buffer MAP, or to -")
	opts.to.overrideFlags(f)
	f.Var(opts.speed, "speed", "replay as fast as possible, or as recorded")
	f.StringVar(&opts.filter, "filter", "", "select records for which this expression is true, as for tail")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if opts.to.user != "" && cmd.Flags().Changed("output") {
			return command.Usagef("replay: --output does not go with --to")
		}
		for _, override := range []string{"recover", "steal", "ignore-unseen"} {
			if cmd.Flags().Changed(override) && (opts.to.user == "" || opts.to.user == "-") {
				return command.Usagef("replay: --%s goes with --to MAP", override)
			}
		}
		in, err := openInput(cmd.Context(), cmd.InOrStdin(), args[0])
		if err != nil {
			return fmt.Errorf("replay: %w", command.Interrupted(err))
		}
		defer in.Close()
		return replay(cmd.Context(), in, cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], opts)
	}
	return cmd
}

// replay writes the records of a capture to stdout or into a user ring.
func replay(ctx context.Context, in io.Reader, stdout, stderr io.Writer, name string, opts replayOptions) error {
	p := &player{flush: func() error { return nil }, atOnce: opts.speed.Value == "max"}
	// A read may block for long. Before it, write the records that were read earlier.
	src := &input{ctx: ctx, r: in, before: func() error { return p.flush() }}
	reader, err := capture.NewReader(bufio.NewReaderSize(src, 1<<16))
	if err != nil {
		return fmt.Errorf("replay %s: %w", name, command.Interrupted(err))
	}
	types := reader.Info().Types
	p.capture = stream.NewCapture(reader)
	p.Source = p.capture
	if p.Filter, err = newFilter("replay", opts.filter, types); err != nil {
		return err
	}
	switch opts.to.user {
	case "":
		err = p.play(ctx, &stream.Writer{W: stdout, Format: stream.NewFormat(opts.output.Value, types, nil)})
	case "-":
		err = p.play(ctx, &stream.Writer{W: stdout, Format: stream.NewFormat(stream.Raw, nil, nil)})
	default:
		err = p.intoRing(ctx, stderr, opts.to)
	}
	if err != nil && !errors.Is(err, capture.ErrUnfinished) {
		return fmt.Errorf("replay %s: %w", name, command.Interrupted(err))
	}
	p.report(stderr, err)
	return nil
}

// player replays a capture.
type player struct {
	stream.Stream
	capture *stream.Capture
	flush   func() error // the sink's Flush
	atOnce  bool         // do not wait for the intervals of the recording
}

// play moves the records to a sink.
func (p *player) play(ctx context.Context, sink stream.Sink) error {
	p.Sink, p.flush = sink, sink.Flush
	if !p.atOnce {
		p.Sink = &stream.Paced{Sink: sink, Time: p.capture.Time}
	}
	return p.Run(ctx)
}

// intoRing writes the records into a user ring. If it fails, the records before the error are published
// and counted.
func (p *player) intoRing(ctx context.Context, stderr io.Writer, to userRing) (err error) {
	ring, err := openProducer(stderr, to)
	if err != nil {
		return err
	}
	defer func() { err = worse(err, ring.Close()) }()
	sink, err := stream.NewUserRing(ctx, ring)
	if err != nil {
		return err
	}
	err = p.play(ctx, sink)
	err = worse(err, sink.Close())
	fmt.Fprintf(stderr, "%d samples, %d bytes\n", p.Stats().Taken, p.Stats().Bytes)
	return err
}

// worse joins the error that ended a capture and a later error. If the first is [capture.ErrUnfinished],
// for which a command does not fail, it returns only the later one.
func worse(end, after error) error {
	if after != nil && errors.Is(end, capture.ErrUnfinished) {
		return after
	}
	return errors.Join(end, after)
}

// report prints how many records the capture is missing. err is nil or matches [capture.ErrUnfinished].
func (p *player) report(w io.Writer, err error) {
	if lost := p.capture.Totals().Lost; lost > 0 {
		command.Note(w, "%d bytes of records were lost while recording", lost)
	}
	if err != nil {
		command.Note(w, "the capture is unfinished: its %d records are complete", p.Stats().Seen)
	}
	reportFilter(w, p.Filter)
}
