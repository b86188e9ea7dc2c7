package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/inspect"
)

// tailOptions are the flags of tail.
type tailOptions struct {
	from     *choice
	output   *choice
	count    count
	duration duration
	idle     duration
	steal    bool
	stats    bool
	types    typeOptions
}

func newTail() *cobra.Command {
	var opts tailOptions
	cmd := &cobra.Command{
		Use:   "tail MAP",
		Short: "Print the records of a ring buffer as they come, consuming them",
		Long: `Print the records of a ring buffer and consume them. Records come in the order
of the ring, which is the order in which they were reserved: the times in them
may run backwards where two CPUs write at once. tail never sorts.

A ring has one consumer. One that another process consumes is refused with
status 5. A record is consumed when its output has been written: a tail that
is killed gets its last records again at the next start, and loses none.

Formats: text, for people; json, one object a line; hex, one record a line; raw,
each record preceded by its length as 4 bytes little-endian.

Records of rbtool probe proctrace are decoded without being told how; those of
other programs by --type, out of the BTF that --btf names.`,
		Example: `  rbtool tail /sys/fs/bpf/rbtool/proctrace/events
  rbtool tail name:events -o json -n 100 --idle 5s
  rbtool tail id:12 --type my_event --btf prog:34`,
		Args: cobra.ExactArgs(1),
	}
	opts.output = outputFlag(cmd, "text", "json", "hex", "raw")
	opts.from = &choice{value: "start", among: []string{"start", "now"}}
	f := cmd.Flags()
	f.Var(opts.from, "from", "begin with what waits in the ring, or consume that silently")
	f.VarP(&opts.count, "count", "n", "stop after so many records")
	f.Var(&opts.duration, "for", "stop after so long")
	f.Var(&opts.idle, "idle", "stop when nothing came for so long")
	f.BoolVar(&opts.steal, "steal", false, "consume although another process consumes the ring")
	f.BoolVar(&opts.stats, "stats", false, "one line to stderr at the end: records, bytes, discarded, lost, records/s")
	opts.types.flags(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.types.check("tail"); err != nil {
			return err
		}
		return tail(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], opts)
	}
	return cmd
}

func tail(ctx context.Context, stdout, stderr io.Writer, ref string, opts tailOptions) (err error) {
	m, err := inspect.Lookup(ref, ebpf.RingBuf)
	if err != nil {
		return err
	}
	defer m.Close()
	var types *decode.Set
	if o := opts.output.value; o == "text" || o == "json" {
		if types, err = opts.types.recordTypes(m, stderr); err != nil {
			return fmt.Errorf("tail %s: %w", ref, err)
		}
	}
	if !opts.steal {
		if err := refuseConsumed(ref, m); err != nil {
			return err
		}
	}
	out := &batch{w: stdout}
	claim := consumer.ClaimExclusive
	if opts.steal {
		claim = consumer.ClaimSteal
	}
	r, err := consumer.NewReader(m, consumer.Options{BeforePublish: out.flush, Claim: claim})
	if busy, ok := errors.AsType[*consumer.BusyError](err); ok {
		return consumedBy(ref, int(busy.PID), "")
	}
	if err != nil {
		return fmt.Errorf("tail %s: %w", ref, err)
	}
	t := &tailer{reader: r, out: out, format: newFormat(opts.output.value, types), opts: opts, began: time.Now()}
	defer func() {
		if opts.stats {
			fmt.Fprintln(stderr, t.summary())
		}
		err = errors.Join(err, r.Close())
	}()
	if err := t.run(ctx); err != nil {
		return fmt.Errorf("tail %s: %w", ref, err)
	}
	return nil
}

// refuseConsumed returns an error when another process consumes the ring.
func refuseConsumed(ref string, m *ebpf.Map) error {
	info, err := m.Info()
	if err != nil {
		return fmt.Errorf("tail %s: %w", ref, err)
	}
	id, _ := info.ID()
	usage, err := inspect.Users(m)
	if err != nil {
		return fmt.Errorf("tail %s: find its consumer: %w", ref, err)
	}
	for _, u := range usage.Users[id] {
		if u.Consumes && !u.Self {
			return consumedBy(ref, u.PID, u.Comm)
		}
	}
	return nil
}

func consumedBy(ref string, pid int, comm string) error {
	by := fmt.Sprintf("process %d", pid)
	if comm != "" {
		by += fmt.Sprintf(" (%s)", comm)
	}
	return &failure{
		err:    fmt.Errorf("tail %s: consumed by %s", ref, by),
		status: statusBusy,
		hint:   "stop that process; --steal consumes all the same, and each gets a part of the records",
	}
}
