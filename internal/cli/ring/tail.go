package ring

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

const tailHelp = `Print the records of a ring buffer and consume them. Records are printed in the order of
the ring, which is the order of their reservation. Their timestamps may run backwards where
two CPUs write at once; tail does not sort.

A ring has one consumer. If another process consumes the ring, it is refused with status 5,
even if that process is outside the container: the kernel counts consumers in all pid
namespaces. Reading the count takes CAP_BPF and CAP_PERFMON; without them a ring is refused
while some processes cannot be seen. --steal takes the ring from its consumer, seen or not;
a tail that loses its ring this way exits with status 5. A record is consumed once its output
has been written: a tail that is killed loses no record, and the next one prints the last
records again.

If another program sets a wrong consumer position, the ring cannot be read and its producers
may find no room. --recover moves the position to the oldest intact record and reports how
many bytes are lost.

--observe copies the records beside their consumer. It consumes nothing, writes nothing and
does not poll the map. Records that are overwritten before they can be copied are counted and
reported at the end. It works for user ring buffers too.

The kernel refuses records while the ring is full. It does not count them, and so neither does
--stats. Only the producing program notices: bpf_ringbuf_reserve returns NULL, bpf_ringbuf_output
-EAGAIN. rbtool inspect MAP --for 10s shows how long the ring is full, and rbtool exporter
counts that time.

Formats: text for people; json, one object a line; hex, one record a line; raw, each record
preceded by its length as 4 bytes little-endian. Text and JSON escape unprintable characters.
In JSON a string that is not UTF-8 is an array of its bytes.

tail finds the types of records in the programs that write them, and decodes by these types;
--explain shows how. --type names other types, in the BTF that --btf names. Records of unknown
type are shown in hex, and a note on stderr says why.

A filter is an expression in the syntax of expr-lang.org over the members of the record (pid,
or data.pid), type, len, pos and seq. It is checked before the first record is read. Records
that it leaves out are consumed too.

  == != < <= > >=  in [1, 2]  in 1..9  and or not  ?:  ??   contains startsWith endsWith matches
  + - * / % **   abs min max sum floor ceil round int float string
  bitand bitor bitxor bitnot bitshl bitshr   len(list) first last list[0] list[1:3]
  all any none one count filter map find findIndex findLast findLastIndex
  upper lower trim trimPrefix trimSuffix split splitAfter replace join indexOf lastIndexOf
  hasPrefix hasSuffix   let x = pid; ...

Integers are exact at every size: addr - 1 > 0xffffffff81000000 does not wrap or round, and
3 / 2 is 1.5. Records without an exact result, as for addr + 0.5 or a division by 0, are left
out and counted at the end.`

// tailOptions are the flags of tail.
type tailOptions struct {
	readOptions
	output *command.Choice
}

func newTail() *cobra.Command {
	var opts tailOptions
	cmd := &cobra.Command{
		Use:   "tail MAP",
		Short: "Print the records of a ring buffer as they come, consuming or observing them",
		Long:  tailHelp,
		Example: `  rbtool tail /sys/fs/bpf/rbtool/proctrace/events
  rbtool tail name:events -o json -n 100 --idle 5s
  rbtool tail id:12 --observe --stats --for 10s
  rbtool tail id:12 --filter 'type == "exec_event" && comm contains "sh"'
  rbtool tail id:12 --type my_event --btf prog:34`,
		Args: command.NonEmpty(cobra.ExactArgs(1)),
	}
	opts.output = command.OutputFlag(cmd, stream.FormatNames()...)
	opts.flags(cmd)
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

func tail(ctx context.Context, stdout, stderr io.Writer, ref string, opts tailOptions) (err error) {
	format := opts.output.Value
	r, err := opts.find("tail", ref, stream.Decodes(format) || opts.filter != "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	var extras stream.Extras
	if r.types.Set != nil && stream.Decodes(format) {
		if stacks := newStackNamer(r.ring, stderr); stacks != nil {
			defer stacks.Close()
			extras, r.Watch = stacks, stacks.watch
		}
	}
	out := &stream.Writer{W: stdout, Format: stream.NewFormat(format, r.types.Set, extras)}
	if err := r.open(out.Flush); err != nil {
		return err
	}
	r.Sink = out
	r.announce(stderr)
	defer r.report(stderr)
	return r.fail(r.run(ctx))
}
