package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/filter"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	to     string
	speed  *choice
	output *choice
	filter string
}

func newReplay() *cobra.Command {
	opts := replayOptions{speed: &choice{value: "max", among: []string{"max", "1x"}}}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Print the records of a capture, or write them somewhere",
		Long: `Print the records of a file that rbtool record wrote, decoded by the types in it, as
tail prints those of a ring. With --to MAP they become samples of a user ring buffer, as
rbtool produce writes them, waiting for room. With --to - they are written to the
standard output as they are, each preceded by its length as 4 bytes little-endian: what
tail -o raw writes, and rbtool produce --format lp32 reads.

With --speed 1x they come at the distances in time at which they were recorded. A capture
that was not finished is read to its last whole record, and a note says so. FILE - is the
standard input.`,
		Example: `  rbtool replay events.pcapng -o json
  rbtool replay events.pcapng --to /sys/fs/bpf/commands --speed 1x
  rbtool replay events.pcapng --filter 'pid == 1' --to - > records.lp32`,
		Args: noneEmpty(cobra.ExactArgs(1)),
	}
	opts.output = outputFlag(cmd, "text", "json", "hex", "raw")
	f := cmd.Flags()
	f.StringVar(&opts.to, "to", "", "write the records as they are to the user ring buffer MAP, or to -")
	f.Var(opts.speed, "speed", "as fast as possible, or as recorded")
	f.StringVar(&opts.filter, "filter", "", "only records for which this expression is true, as for tail")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if opts.to != "" && cmd.Flags().Changed("output") {
			return usagef("replay: --output is for what is printed: it does not go with --to")
		}
		in, name := cmd.InOrStdin(), args[0]
		if name != "-" {
			file, err := os.Open(name)
			if err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			defer file.Close()
			in = file
		}
		return replay(cmd.Context(), bufio.NewReaderSize(in, 1<<16), cmd.OutOrStdout(), cmd.ErrOrStderr(), name, opts)
	}
	return cmd
}

// replay writes the records of a capture.
func replay(ctx context.Context, in io.Reader, stdout, stderr io.Writer, name string, opts replayOptions) error {
	r, err := capture.NewReader(in)
	if err != nil {
		return fmt.Errorf("replay %s: %w", name, err)
	}
	selected, err := newFilter("replay", opts.filter, r.Info().Types)
	if err != nil {
		return err
	}
	p := player{reader: r, filter: selected, realTime: opts.speed.value == "1x"}
	if opts.to != "" && opts.to != "-" {
		err = p.intoRing(ctx, stderr, opts.to)
	} else {
		err = p.print(ctx, stdout, opts)
	}
	if err != nil && !errors.Is(err, capture.ErrUnfinished) {
		return fmt.Errorf("replay %s: %w", name, err)
	}
	p.report(stderr, err)
	sayUnfiltered(stderr, selected)
	return nil
}

// print writes the records to w.
func (p *player) print(ctx context.Context, w io.Writer, opts replayOptions) error {
	format := newFormat(opts.output.value, p.reader.Info().Types)
	if opts.to == "-" {
		format = appendRaw
	}
	out := &batch{w: w}
	err := p.play(ctx, out.flush, func(seq uint64, rec capture.Record) error {
		out.buf = format(out.buf, seq, consumer.Record{Data: rec.Data, Pos: rec.Pos})
		if len(out.buf) < 1<<16 {
			return nil
		}
		return out.flush()
	})
	return worse(err, out.flush())
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
func (p *player) intoRing(ctx context.Context, stderr io.Writer, ref string) (err error) {
	ring, err := openProducer(stderr, produceOptions{user: ref})
	if err != nil {
		return err
	}
	defer func() { err = worse(err, ring.Close()) }()
	samples, bytes := 0, 0
	b := ring.Batch()
	err = p.play(ctx, b.Publish, func(_ uint64, rec capture.Record) error {
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

	seq, lost uint64
	began     time.Time // of playing
	first     time.Time // of the records
}

// play calls each with the records of the capture, and pause before it waits for the time of
// the next one. Its error is one that is capture.ErrUnfinished when the capture was cut off.
func (p *player) play(ctx context.Context, pause func() error, each func(seq uint64, rec capture.Record) error) error {
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
			if err := p.wait(ctx, rec.Time, pause); err != nil {
				return err
			}
		}
		if err := each(p.seq, rec); err != nil {
			return err
		}
	}
}

// wait waits until it is as long since the first record as it was when they were recorded.
func (p *player) wait(ctx context.Context, at time.Time, pause func() error) error {
	if p.began.IsZero() {
		p.began, p.first = time.Now(), at
	}
	left := at.Sub(p.first) - time.Since(p.began)
	if left <= 0 {
		return nil
	}
	if err := pause(); err != nil {
		return err
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// report says what a capture lacks, err among it.
func (p *player) report(w io.Writer, err error) {
	if end := p.reader.End(); end != nil {
		p.lost += end.Lost
	}
	if p.lost > 0 {
		fmt.Fprintf(w, "note: %d bytes of records were lost while recording\n", p.lost)
	}
	if err != nil {
		fmt.Fprintf(w, "note: the capture was not finished: its %d records are whole\n", p.seq)
	}
}
