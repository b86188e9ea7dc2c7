package ring

import (
	"bytes"
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
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// tailOptions are the flags of tail.
type tailOptions struct {
	from     *command.Choice
	output   *command.Choice
	count    command.Count
	duration command.Duration
	idle     command.Duration
	steal    bool
	observe  bool
	recover  bool
	stats    bool
	filter   string
	types    command.TypeOptions
}

func newTail() *cobra.Command {
	var opts tailOptions
	cmd := &cobra.Command{
		Use:   "tail MAP",
		Short: "Print the records of a ring buffer as they come, consuming or observing them",
		Long: `Print the records of a ring buffer and consume them. Records come in the order
of the ring, which is the order in which they were reserved: the times in them
may run backwards where two CPUs write at once. tail never sorts.

A ring has one consumer. One that another process consumes is refused with
status 5, even if that process is outside the container: the kernel counts consumers
in all pid namespaces. Reading the count takes CAP_BPF and CAP_PERFMON; without them a
ring is refused while processes are hidden. --steal takes the ring from its consumer, even
from one that cannot be seen; a robbed tail ends with status 5. A record is consumed when
its output has been written: a tail that is killed reads its last records again at the
next start, and loses none.

If another program sets a wrong consumer position, the ring cannot be read and its
producers may find no room. --recover moves the position to the oldest intact record and
says how many bytes are lost.

With --observe nothing is consumed, written or polled: the records are copied
beside whoever consumes them. What is written over before it could be copied is
counted, and named at the end. It works for user ring buffers too.

The kernel refuses records while the ring is full and does not count them, so neither does
--stats. Only the producing program sees a refusal: bpf_ringbuf_reserve returns NULL,
bpf_ringbuf_output -EAGAIN. rbtool inspect MAP --for 10s shows how long the ring is full,
and rbtool exporter counts that time.

Formats: text, for people; json, one object a line; hex, one record a line; raw,
each record preceded by its length as 4 bytes little-endian. Unprintable characters are
escaped in text and JSON. In JSON a string that is not UTF-8 is an array of its bytes.

Records are decoded without being told how where the programs that write them say
what they are (--explain tells how that is known), and else by --type, out of the
BTF that --btf names; what stays unknown is shown in hex, and why on stderr.

A filter is an expression with the syntax of expr-lang.org over the members of the
record (pid, or data.pid), type, len, pos and seq. It is checked before the
first record is read. Records that it leaves out are consumed all the same.

  == != < <= > >=  in [1, 2]  in 1..9  and or not  ?:  ??   contains startsWith endsWith matches
  + - * / % **   abs min max sum floor ceil round int float string
  bitand bitor bitxor bitnot bitshl bitshr   len(list) first last list[0] list[1:3]
  all any none one count filter map find findIndex findLast findLastIndex
  upper lower trim trimPrefix trimSuffix split splitAfter replace join indexOf lastIndexOf
  hasPrefix hasSuffix   let x = pid; ...

Integers are exact at every size: addr - 1 > 0xffffffff81000000 does not wrap or round, and
3 / 2 is 1.5. Records without an exact answer, as for addr + 0.5 or a division by 0, are left
out and counted at the end.`,
		Example: `  rbtool tail /sys/fs/bpf/rbtool/proctrace/events
  rbtool tail name:events -o json -n 100 --idle 5s
  rbtool tail id:12 --observe --stats --for 10s
  rbtool tail id:12 --filter 'type == "exec_event" && comm contains "sh"'
  rbtool tail id:12 --type my_event --btf prog:34`,
		Args: command.NonEmpty(cobra.ExactArgs(1)),
	}
	opts.output = command.OutputFlag(cmd, "text", "json", "hex", "raw")
	opts.sourceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(cmd); err != nil {
			return err
		}
		ctx, stop := whileRead(cmd.Context(), cmd.OutOrStdout())
		defer stop()
		return tail(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], opts)
	}
	return cmd
}

// sourceFlags are those that say what is read from a ring, and when to stop.
func (o *tailOptions) sourceFlags(cmd *cobra.Command) {
	o.from = &command.Choice{Value: "start", Among: []string{"start", "now"}}
	f := cmd.Flags()
	f.Var(o.from, "from", "begin with what waits in the ring, or consume that silently")
	f.VarP(&o.count, "count", "n", "stop after so many records")
	f.Var(&o.duration, "for", "stop after so long")
	f.Var(&o.idle, "idle", "stop when nothing came for so long")
	f.BoolVar(&o.steal, "steal", false, "consume although another process consumes the ring")
	f.BoolVar(&o.recover, "recover", false, "mend a wrong consumer position: resume at the oldest intact record")
	f.BoolVar(&o.observe, "observe", false, "watch without consuming, beside the ring's consumer")
	f.BoolVar(&o.stats, "stats", false, "one line to stderr at the end: records, bytes, discarded, lost, records/s")
	f.StringVar(&o.filter, "filter", "", "only records for which this expression is true, such as 'pid == 1 && comm startsWith \"sys\"'")
	o.types.Flags(f)
}

// check finds flags that contradict each other.
func (o *tailOptions) check(cmd *cobra.Command) error {
	if o.observe && o.steal {
		return command.Usagef("%s: --observe consumes nothing: it does not go with --steal", cmd.Name())
	}
	if o.observe && o.recover {
		return command.Usagef("%s: --recover changes the ring and --observe does not: use one of them", cmd.Name())
	}
	return o.types.Check(cmd.Name())
}

func tail(ctx context.Context, stdout, stderr io.Writer, ref string, opts tailOptions) (err error) {
	m, err := lookupRing(ref, opts)
	if err != nil {
		return err
	}
	defer m.Close()
	var types *decode.Set
	var notes bytes.Buffer // come after what can fail
	if o := opts.output.Value; o == "text" || o == "json" || opts.filter != "" {
		if types, err = opts.types.RecordTypes(m, &notes); err != nil {
			return fmt.Errorf("tail %s: %w", ref, err)
		}
	}
	selected, err := newFilter("tail", opts.filter, types)
	if err != nil {
		return err
	}
	show := stream.NewFormat(opts.output.Value, types)
	var watch func(record []byte)
	if o := opts.output.Value; types != nil && (o == "text" || o == "json") {
		if stacks := newStackNamer(m, stderr); stacks != nil {
			defer stacks.Close()
			show, watch = stacks.format(o, show), stacks.watch
		}
	}
	out := &stream.Batch{W: stdout}
	src, err := openFeed(m, out, opts)
	if err != nil {
		return fmt.Errorf("tail %s: %w", ref, explainReader(err))
	}
	stderr.Write(notes.Bytes())
	sayMended(stderr, src)
	t := &tailer{source: src, out: out, format: show, watch: watch, filter: selected, opts: opts, began: time.Now()}
	defer func() {
		if opts.stats {
			fmt.Fprintln(stderr, t.summary())
			sayRefused(stderr, m)
		}
		sayLost(stderr, src)
		sayUnfiltered(stderr, selected)
		err = errors.Join(err, src.Close())
	}()
	if err := t.run(ctx); err != nil {
		return fmt.Errorf("tail %s: %w", ref, explainReader(err))
	}
	return nil
}

// lookupRing finds the ring that is to be read.
func lookupRing(ref string, opts tailOptions) (*ebpf.Map, error) {
	if opts.observe {
		return inspect.Lookup(ref, ebpf.RingBuf, ebpf.UserRingbuf)
	}
	return inspect.Lookup(ref, ebpf.RingBuf)
}

// openReader returns the consumer of a ring that nobody else consumes, or one that does
// not care. What it hands out is written to out before it is consumed.
func openReader(m *ebpf.Map, out *stream.Batch, opts tailOptions) (*consumer.Reader, error) {
	if !opts.steal {
		if err := refuseConsumed(m); err != nil {
			return nil, err
		}
	}
	return consumer.NewReader(m, consumer.Options{BeforePublish: out.Flush, Steal: opts.steal, Mend: opts.recover})
}

// refuseConsumed returns an error when another process consumes the ring.
func refuseConsumed(m *ebpf.Map) error {
	info, err := m.Info()
	if err != nil {
		return err
	}
	id, _ := info.ID()
	usage, err := inspect.Users(m)
	if err != nil {
		return fmt.Errorf("find its consumer: %w", err)
	}
	for _, u := range usage.Users[id] {
		if u.Consumes && !u.Self {
			return consumedBy(command.DescribeProcess(u.PID, u.Comm))
		}
	}
	unseen, err := usage.Unseen(id)
	switch {
	case err != nil:
		err = command.WithStatus(fmt.Errorf("another process may consume it: %w", err), command.StatusBusy)
		return command.WithHint(err, "with CAP_BPF and CAP_PERFMON rbtool can tell; "+consumeHint)
	case unseen > 0:
		return consumedBy(command.UnseenProcess)
	}
	return nil
}

// consumeHint is the hint for a ring that another process consumes.
const consumeHint = "--observe watches without consuming; --steal consumes anyway, and each gets a part of the records"

func consumedBy(process string) error {
	return command.WithHint(command.WithStatus(fmt.Errorf("consumed by %s", process), command.StatusBusy), consumeHint)
}
