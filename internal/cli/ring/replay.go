package ring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/filter"
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
		Short: "Print the records of a capture, or write them somewhere",
		Long: `Print the records of a file that rbtool record wrote, decoded by the types in it, as
tail prints those of a ring. With --to MAP they become samples of a user ring buffer, as
rbtool produce writes them, waiting for room; rbtool produce --help explains --recover,
--steal and --ignore-unseen. With --to - they are written to the standard output as they
are, each preceded by its length as 4 bytes little-endian: what tail -o raw writes, and
rbtool produce --format lp32 reads.

With --speed 1x they come at the distances in time at which they were recorded. A capture
that was not finished is read to its last whole record, and a note says so. FILE - is the
standard input.`,
		Example: `  rbtool replay events.pcapng -o json
  rbtool replay events.pcapng --to /sys/fs/bpf/commands --speed 1x
  rbtool replay events.pcapng --filter 'pid == 1' --to - > records.lp32`,
		Args: command.NonEmpty(cobra.ExactArgs(1)),
	}
	opts.output = command.OutputFlag(cmd, "text", "json", "hex", "raw")
	f := cmd.Flags()
	f.StringVar(&opts.to.user, "to", "", "write the records as they are to the user ring buffer MAP, or to -")
	opts.to.overrideFlags(f)
	f.Var(opts.speed, "speed", "as fast as possible, or as recorded")
	f.StringVar(&opts.filter, "filter", "", "only records for which this expression is true, as for tail")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if opts.to.user != "" && cmd.Flags().Changed("output") {
			return command.Usagef("replay: --output is for what is printed: it does not go with --to")
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

// replay writes the records of a capture.
func replay(ctx context.Context, in io.Reader, stdout, stderr io.Writer, name string, opts replayOptions) error {
	p := player{realTime: opts.speed.Value == "1x", pause: func() error { return nil }}
	var err error
	// Before a read that may take long, what came before it is written.
	src := &input{ctx: ctx, r: in, before: func() error { return p.pause() }}
	if p.reader, err = capture.NewReader(bufio.NewReaderSize(src, 1<<16)); err != nil {
		return fmt.Errorf("replay %s: %w", name, command.Interrupted(err))
	}
	if p.filter, err = newFilter("replay", opts.filter, p.reader.Info().Types); err != nil {
		return err
	}
	if to := opts.to.user; to != "" && to != "-" {
		err = p.intoRing(ctx, stderr, opts.to)
	} else {
		err = p.print(ctx, stdout, opts)
	}
	if err != nil && !errors.Is(err, capture.ErrUnfinished) {
		return fmt.Errorf("replay %s: %w", name, command.Interrupted(err))
	}
	p.report(stderr, err)
	sayUnfiltered(stderr, p.filter)
	return nil
}

// print writes the records to w.
func (p *player) print(ctx context.Context, w io.Writer, opts replayOptions) error {
	format := stream.NewFormat(opts.output.Value, p.reader.Info().Types)
	if opts.to.user == "-" {
		format = stream.AppendRaw
	}
	out := &stream.Batch{W: w}
	p.pause = out.Flush
	err := p.play(ctx, func(seq uint64, rec capture.Record) error {
		out.Buf = format(out.Buf, seq, consumer.Record{Data: rec.Data, Pos: rec.Pos})
		return out.Full()
	})
	return worse(err, out.Flush())
}

// worse is what comes of an end of the capture and of what is done after it: that a
// capture was not finished must not hide that its records were not written.
func worse(end, after error) error {
	if after != nil && errors.Is(end, capture.ErrUnfinished) {
		return after
	}
	return errors.Join(end, after)
}

// intoRing writes the records into a user ring. Those before an error are published, and
// counted like the others.
func (p *player) intoRing(ctx context.Context, stderr io.Writer, to userRing) (err error) {
	ring, err := openProducer(stderr, to)
	if err != nil {
		return err
	}
	defer func() { err = worse(err, ring.Close()) }()
	samples, bytes := 0, 0
	b := ring.Batch()
	p.pause = b.Publish
	err = p.play(ctx, func(_ uint64, rec capture.Record) error {
		room, err := b.NextWait(ctx, len(rec.Data))
		if err != nil {
			return fmt.Errorf("record at position %d: %w", rec.Pos, err)
		}
		copy(room, rec.Data)
		samples++
		bytes += len(rec.Data)
		return nil
	})
	err = worse(err, b.End())
	fmt.Fprintf(stderr, "%d samples, %d bytes\n", samples, bytes)
	return err
}

// player goes through a capture.
type player struct {
	reader   *capture.Reader
	filter   *filter.Filter
	realTime bool
	pause    func() error // called before it waits

	seq, lost uint64
	began     time.Time // of playing
	first     time.Time // of the records
}

// play calls each with the records of the capture. Its error is one that is capture.ErrUnfinished when the capture was cut off.
func (p *player) play(ctx context.Context, each func(seq uint64, rec capture.Record) error) error {
	for {
		rec, err := p.reader.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		p.seq++
		p.lost += rec.Lost
		if p.filter != nil && !p.filter.Match(p.seq, rec.Pos, rec.Data) {
			continue
		}
		if p.realTime {
			if err := p.wait(ctx, rec.Time); err != nil {
				return err
			}
		}
		if err := each(p.seq, rec); err != nil {
			return err
		}
	}
}

// wait waits until it is as long since the first record as it was when they were recorded.
func (p *player) wait(ctx context.Context, at time.Time) error {
	if p.began.IsZero() {
		p.began, p.first = time.Now(), at
	}
	left := at.Sub(p.first) - time.Since(p.began)
	if left <= 0 {
		return nil
	}
	if err := p.pause(); err != nil {
		return err
	}
	command.Pause(ctx, left)
	return ctx.Err()
}

// report says what a capture lacks, err among it.
func (p *player) report(w io.Writer, err error) {
	if end := p.reader.End(); end != nil {
		p.lost += end.Lost
	}
	if p.lost > 0 {
		command.Note(w, "%d bytes of records were lost while recording", p.lost)
	}
	if err != nil {
		command.Note(w, "the capture was not finished: its %d records are whole", p.seq)
	}
}
