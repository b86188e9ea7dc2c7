package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/userring"
	"github.com/rbtool/rbtool/userprod"
)

// drainOptions are the flags of drain.
type drainOptions struct {
	to        string
	count     bool
	every     command.Interval
	on        string
	once      bool
	limit     uint32
	maxSample command.Size
	pinDir    string
	duration  command.Duration
}

// leastEvery is the shortest interval that package drain takes.
const leastEvery = 10 * time.Microsecond

func newDrain() *cobra.Command {
	opts := drainOptions{every: command.Interval{Value: time.Millisecond, Least: leastEvery}}
	cmd := &cobra.Command{
		Use:   "drain MAP --to MAP",
		Short: "Make the kernel empty a user ring buffer into a ring buffer",
		Long: `Drain a user ring buffer into a ring buffer, in the kernel. Each sample becomes a record,
in order. While the target is full, samples wait in the user ring. Samples that were not
drained stay there for the next drain. Only samples larger than the target can hold are
lost; they are counted.

A timer in the kernel drains at intervals, a tracepoint drains whenever it is hit, and
--once drains the samples that are in the ring now. Draining ends with the command. With --pin-dir, the command
returns and draining continues until rbtool drain stop.

At the end, a line on standard error shows the counts.`,
		Example: `  rbtool drain /sys/fs/bpf/commands --to /sys/fs/bpf/events --every 1ms
  rbtool drain name:commands --to name:events --once
  rbtool drain name:commands --to name:events --pin-dir /sys/fs/bpf/drain
  rbtool drain stop --pin-dir /sys/fs/bpf/drain`,
		Args: command.NonEmpty(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.StringVar(&opts.to, "to", "", "deliver to this ring buffer")
	f.BoolVar(&opts.count, "count", false, "count the samples and discard them")
	f.Var(&opts.every, "every", "drain at this interval, at least "+leastEvery.String())
	f.StringVar(&opts.on, "on", "", "drain whenever this tracepoint is hit (sched_process_exec, sys_enter ...)")
	f.BoolVar(&opts.once, "once", false, "drain the samples that are in the ring now, and exit")
	f.Uint32Var(&opts.limit, "limit", 4096, "drain at most this many samples at a time, by timer or tracepoint")
	f.Var(&opts.maxSample, "max-sample", "deliver samples up to this size, and allocate that much memory (default: what both rings can hold)")
	f.StringVar(&opts.pinDir, "pin-dir", "", "leave the drain running, pinned in this directory")
	f.Var(&opts.duration, "for", "exit after this duration")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(f.Changed); err != nil {
			return err
		}
		if err := drainRing(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], opts); err != nil {
			return fmt.Errorf("drain %s: %w", args[0], err)
		}
		return nil
	}
	cmd.AddCommand(newDrainStatus(), newDrainStop())
	return cmd
}

// check returns an error for flags that are wrong on any machine.
func (o *drainOptions) check(given func(flag string) bool) error {
	for _, pair := range [][2]string{
		{"to", "count"}, {"every", "on"}, {"every", "once"}, {"on", "once"},
		{"once", "pin-dir"}, {"once", "for"}, {"pin-dir", "for"}, {"count", "max-sample"}, {"once", "limit"},
	} {
		if given(pair[0]) && given(pair[1]) {
			return command.Usagef("drain: --%s does not go with --%s", pair[0], pair[1])
		}
	}
	switch {
	case o.to == "" && !o.count:
		return command.Usagef("drain: --to MAP is missing (or --count, to discard the samples)")
	case o.limit == 0:
		return command.Usagef("drain: --limit 0: not a number above 0")
	case given("max-sample") && (o.maxSample == 0 || o.maxSample > command.MaxRing):
		return command.Usagef("drain: --max-sample %v: not between 1 and %v", &o.maxSample, command.FormatSize(command.MaxRing))
	}
	return nil
}

func drainRing(ctx context.Context, stdout, stderr io.Writer, ref string, opts drainOptions) (err error) {
	user, err := inspect.Lookup(ref, ebpf.UserRingbuf)
	if err != nil {
		return err
	}
	defer user.Close()
	d, err := opts.load(user)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if opts.once {
		err = drainOnce(ctx, d, user)
		return errors.Join(err, printDrained(stderr, d))
	}
	if opts.on != "" {
		err = d.Attach(opts.on)
	} else {
		err = d.Start(opts.every.Value)
	}
	if err != nil {
		return err
	}
	if opts.pinDir != "" {
		return leaveRunning(stdout, d, opts.pinDir)
	}
	err = watchDrain(ctx, d, time.Duration(opts.duration))
	err = errors.Join(err, d.Stop())
	return errors.Join(err, printDrained(stderr, d))
}

// load loads the programs for the flags.
func (o *drainOptions) load(user *ebpf.Map) (*drain.Drain, error) {
	how := drain.Options{Limit: o.limit, MaxSample: uint32(o.maxSample)}
	if !o.count {
		to, err := inspect.Lookup(o.to, ebpf.RingBuf)
		if err != nil {
			return nil, err
		}
		defer to.Close()
		how.To = to
	}
	return drain.Load(user, how)
}

// drainOnce drains the samples that are in the user ring now. It waits while the target ring is full.
func drainOnce(ctx context.Context, d *drain.Drain, user *ebpf.Map) error {
	before, err := userring.Diagnose(user)
	if err != nil {
		return err
	}
	for end, pos := before.ProducerPos, before.ConsumerPos; ; {
		res, err := d.Run(drain.RunOptions{})
		if err != nil {
			return explainDrain(err)
		}
		if res.Full {
			if command.Pause(ctx, time.Millisecond); ctx.Err() != nil {
				return command.Interrupted(ctx.Err())
			}
			continue
		}
		now, err := userring.Diagnose(user)
		if err != nil {
			return err
		}
		if now.ConsumerPos == pos || int64(now.ConsumerPos-end) >= 0 {
			return nil // no sample was moved: the producer is still writing the next one
		}
		pos = now.ConsumerPos
	}
}

// watchDrain returns after duration (unless 0), when ctx is done, or when the user ring is malformed.
func watchDrain(ctx context.Context, d *drain.Drain, duration time.Duration) error {
	if duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, duration)
		defer cancel()
	}
	for ctx.Err() == nil {
		s, err := d.Stats()
		if err != nil {
			return err
		}
		if s.Invalid+s.TooBig > 0 {
			_, err := d.Run(drain.RunOptions{})
			if errors.Is(err, userprod.ErrCorrupt) {
				return explainDrain(err)
			}
		}
		command.Pause(ctx, 200*time.Millisecond)
	}
	return nil
}

// explainDrain adds a hint to the error of a malformed user ring.
func explainDrain(err error) error {
	if errors.Is(err, userprod.ErrCorrupt) {
		return command.WithHint(err, "rbtool produce --user MAP --recover </dev/null discards everything after the last valid sample")
	}
	return err
}

// drainErrors counts the negative results of bpf_user_ringbuf_drain.
func drainErrors(c drain.Counts) string {
	return fmt.Sprintf("%d EBUSY, %d EINVAL, %d E2BIG, %d others", c.Busy, c.Invalid, c.TooBig, c.Failed)
}

// printDrained prints the counts of a drain.
func printDrained(stderr io.Writer, d *drain.Drain) error {
	s, err := d.Stats()
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%d samples, %d bytes, %d delivered, %d too large, %d times full",
		s.Samples, s.Bytes, s.Delivered, s.TooLarge, s.Full)
	if failed := s.Busy + s.Invalid + s.TooBig + s.Failed; failed > 0 {
		line += fmt.Sprintf(", %d drains failed (%s)", failed, drainErrors(s.Counts))
	}
	_, err = fmt.Fprintln(stderr, line)
	return err
}

// leaveRunning pins the drain in dir and prints that it continues there.
func leaveRunning(w io.Writer, d *drain.Drain, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := d.Pin(dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "draining, pinned in %s\n", dir)
	if err != nil {
		err = fmt.Errorf("write output: %w", err)
	}
	if command.Spoiled(err) {
		err = errors.Join(err, drain.Remove(dir, false))
	}
	return err
}
